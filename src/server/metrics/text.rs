//! Prometheus' text format, version 0.0.4.
//!
//! By hand, since vLLM's names hold a colon and one histogram ends in `_total`, which the client
//! libraries' OpenMetrics writers reserve for counters.

use std::fmt::Write;

/// A histogram with cumulative buckets.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One for each bound and one for what is above the last.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// Nothing observed yet. `bounds` rise.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Counts a value.
    pub fn observe(&mut self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at] += 1;
        self.sum += value;
    }
}

/// A page of metrics.
#[derive(Debug)]
pub struct Page {
    text: String,
    /// Labels of every series.
    labels: String,
}

impl Page {
    /// An empty page whose series all carry these labels.
    pub fn new(labels: &[(&str, &str)]) -> Self {
        Self { text: String::new(), labels: written(labels) }
    }

    /// The text.
    pub fn finish(self) -> String {
        self.text
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String can't fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: f64) {
        let comma = if labels.is_empty() || self.labels.is_empty() { "" } else { "," };
        let _ = writeln!(self.text, "{name}{{{}{comma}{labels}}} {value}", self.labels);
    }

    /// A value that rises and falls.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "gauge", help);
        self.line(name, "", value);
    }

    /// A gauge whose labels are what it says.
    pub fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) {
        self.head(name, "gauge", help);
        self.line(name, &written(labels), 1.0);
    }

    /// Counts that only rise, told apart by the values of one label; an empty label stands for none.
    pub fn counter(&mut self, name: &str, help: &str, label: &str, rows: &[(&str, f64)]) {
        self.head(name, "counter", help);
        for (value, count) in rows {
            let labels = if label.is_empty() { String::new() } else { written(&[(label, value)]) };
            self.line(name, &labels, *count);
        }
    }

    /// A histogram.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
            below += count;
            self.line(&bucket, &format!("le=\"{bound:?}\""), below as f64);
        }
        let all = histogram.counts.iter().sum::<u64>() as f64;
        self.line(&bucket, "le=\"+Inf\"", all);
        self.line(&format!("{name}_sum"), "", histogram.sum);
        self.line(&format!("{name}_count"), "", all);
    }
}

fn written(labels: &[(&str, &str)]) -> String {
    let escape = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_reads_as_prometheus_wants_it() {
        let mut page = Page::new(&[("model_name", "a\"b")]);
        let mut histogram = Histogram::new(&[0.5, 1.0]);
        for value in [0.5, 0.75, 8.0] {
            histogram.observe(value);
        }
        page.histogram("v:h", "H.", &histogram);
        page.counter("v:c_total", "C.", "reason", &[("stop", 2.0)]);
        assert_eq!(
            page.finish(),
            "# HELP v:h H.\n# TYPE v:h histogram\n\
             v:h_bucket{model_name=\"a\\\"b\",le=\"0.5\"} 1\n\
             v:h_bucket{model_name=\"a\\\"b\",le=\"1.0\"} 2\n\
             v:h_bucket{model_name=\"a\\\"b\",le=\"+Inf\"} 3\n\
             v:h_sum{model_name=\"a\\\"b\"} 9.25\n\
             v:h_count{model_name=\"a\\\"b\"} 3\n\
             # HELP v:c_total C.\n# TYPE v:c_total counter\n\
             v:c_total{model_name=\"a\\\"b\",reason=\"stop\"} 2\n"
        );
    }
}
