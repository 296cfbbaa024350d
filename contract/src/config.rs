//! The configuration file `policy-config.yaml`: from text to checked values.
