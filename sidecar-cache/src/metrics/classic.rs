//! Prometheus' own text format, for whoever does not ask for OpenMetrics: `promtool check metrics`, and older scrapers.

/// The text of an exposition in OpenMetrics, in Prometheus' format 0.0.4. There a counter is called by its whole name
/// where its help and its type are told, and nothing marks the end.
#[must_use]
pub fn classic(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut lines = openmetrics.lines().peekable();
    while let Some(line) = lines.next() {
        let help = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '));
        if let (Some((name, help)), Some(kind)) = (help, lines.peek()) {
            let is_counter = kind
                .strip_prefix("# TYPE ")
                .and_then(|rest| rest.split_once(' '))
                .is_some_and(|told| told == (name, "counter"));
            if is_counter {
                let counter = format!("# HELP {name}_total {help}\n# TYPE {name}_total counter\n");
                text.push_str(&counter);
                lines.next();
                continue;
            }
        }
        if line != "# EOF" {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_has_its_whole_name_and_all_else_stays() {
        let openmetrics = "# HELP a A counter.\n# TYPE a counter\na_total{b=\"# HELP\"} 1\n\
                           # HELP g A gauge.\n# TYPE g gauge\ng 2\n# EOF\n";
        let expected = "# HELP a_total A counter.\n# TYPE a_total counter\na_total{b=\"# HELP\"} 1\n\
                        # HELP g A gauge.\n# TYPE g gauge\ng 2\n";
        assert_eq!(classic(openmetrics), expected);
        assert_eq!(classic(""), "");
    }
}
