//! `workflow_cache.per_org`: what its bounds mean, and what contradicts them.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;

fn per_org(bounds: &str) -> String {
    format!("workflow_cache: {{per_org: {{{bounds}}}}}\n")
}

#[wasm_bindgen_test(unsupported = test)]
fn nothing_is_bounded_where_nothing_is_said() {
    assert_eq!(loaded_with("").config.cache.per_org, PerOrg::default());
    let said = loaded_with(&per_org("max_requests: 8, max_streams: 8, max_bytes: 33554432"));
    let PerOrg { max_requests, max_streams, max_bytes } = said.config.cache.per_org;
    assert_eq!((max_requests, max_streams, max_bytes), (Some(8), Some(8), Some(32 << 20)));
}

#[wasm_bindgen_test(unsupported = test)]
fn bounds_that_let_nothing_through_are_refused() {
    let at = "f.yaml:6: workflow_cache.per_org";
    for (bounds, problem) in [
        ("max_requests: 0", format!("{at}.max_requests: 0 is not between 1 and 1000000")),
        ("max_streams: 0", format!("{at}.max_streams: 0 is not between 1 and 1000000")),
        (
            "max_bytes: 33554431",
            format!(
                "{at}.max_bytes: 33554431 has no room for one request: gateway.request_bytes_max is 33554432"
            ),
        ),
        (
            "max_requests: 3, max_streams: 4",
            format!("{at}.max_streams: 4 is more than max_requests (3) allows"),
        ),
    ] {
        assert_eq!(errors_with(&per_org(bounds)), [problem]);
    }
}
