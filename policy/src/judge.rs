//! What is judged once it is whole: whether an answer fits the schema that was asked for, and whether what it says
//! stands in what it was given. Only where an answer is whole, which is in the sidecar.

pub mod grounding;
pub mod schema;
