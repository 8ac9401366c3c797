//! How `bench model` prints its rows: llama-bench's formats, one row at a time as they are measured.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::units::Bytes;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Comma-separated values, one line of names first
    Csv,
    /// A JSON list
    Json,
    /// A JSON object a line
    Jsonl,
    /// A Markdown table
    Md,
    /// SQL: a table llama_bench and its rows
    Sql,
}

/// One test's figures, by llama-bench's names where it has them. What has no meaning here (threads,
/// tensor splits) is left out.
#[derive(Debug, Serialize)]
pub struct Row {
    pub build_commit: String,
    pub build_number: u32,
    pub cpu_info: String,
    pub gpu_info: String,
    pub backends: String,
    pub model_filename: String,
    pub model_type: String,
    pub model_size: u64,
    pub model_n_params: u64,
    pub n_batch: usize,
    pub n_ubatch: usize,
    pub type_k: String,
    pub type_v: String,
    pub devices: String,
    pub n_prompt: usize,
    pub n_gen: usize,
    pub n_depth: usize,
    pub test_time: String,
    pub avg_ns: u64,
    pub stddev_ns: u64,
    pub avg_ts: f64,
    pub stddev_ts: f64,
    pub samples_ns: Vec<u64>,
    pub samples_ts: Vec<f64>,
    pub fma_gflops: f64,
    pub read_gbps: f64,
    pub of_fma: f64,
    pub of_read: f64,
}

impl Row {
    /// The test as llama-bench calls it: `pp512`, `tg128`, `pp512+tg128`, each perhaps ` @ d4096`.
    fn test(&self) -> String {
        let pp = (self.n_prompt > 0).then(|| format!("pp{}", self.n_prompt));
        let tg = (self.n_gen > 0).then(|| format!("tg{}", self.n_gen));
        let mut name = pp.into_iter().chain(tg).collect::<Vec<_>>().join("+");
        if self.n_depth > 0 {
            name += &format!(" @ d{}", self.n_depth);
        }
        name
    }

    /// Its fields in order.
    fn fields(&self) -> io::Result<Map<String, Value>> {
        match serde_json::to_value(self)? {
            Value::Object(fields) => Ok(fields),
            other => Err(io::Error::other(format!("a row became {other}"))),
        }
    }

    /// Names and values of the fields that are one value each.
    fn cells(&self) -> io::Result<Vec<(String, String)>> {
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let fields = self.fields()?.into_iter().filter(|(_, value)| !value.is_array());
        Ok(fields.map(|(name, value)| (name, text(value))).collect())
    }
}

/// Prints rows as they come.
#[derive(Debug)]
pub struct Printer<W: Write> {
    out: W,
    output: Output,
    batches: Batches,
    rows: usize,
}

/// Whether a table says how many tokens were handed over at once, as llama-bench's does where that is
/// what differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batches {
    /// One size for all tests.
    Same,
    /// A column of them.
    Differ,
}

impl<W: Write> Printer<W> {
    /// Nothing is printed before the first row.
    pub fn new(out: W, output: Output, batches: Batches) -> Self {
        Self { out, output, batches, rows: 0 }
    }

    /// Prints a row.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn row(&mut self, row: &Row) -> io::Result<()> {
        let is_first = self.rows == 0;
        self.rows += 1;
        let out = &mut self.out;
        match self.output {
            Output::Csv => {
                let cells = row.cells()?;
                let line = |cells: Vec<&String>| {
                    let quoted: Vec<String> =
                        cells.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
                    quoted.join(",")
                };
                if is_first {
                    let names: Vec<&str> = cells.iter().map(|(name, _)| name.as_str()).collect();
                    writeln!(out, "{}", names.join(","))?;
                }
                writeln!(out, "{}", line(cells.iter().map(|(_, value)| value).collect()))?;
            }
            Output::Json => {
                out.write_all(if is_first { b"[\n" } else { b",\n" })?;
                serde_json::to_writer_pretty(&mut *out, row)?;
            }
            Output::Jsonl => {
                serde_json::to_writer(&mut *out, row)?;
                writeln!(out)?;
            }
            Output::Md => markdown(out, row, self.batches, is_first)?,
            Output::Sql => sql(out, row, is_first)?,
        }
        out.flush()
    }

    /// Ends the list.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn end(mut self) -> io::Result<()> {
        match (self.output, self.rows) {
            (Output::Json, 0) => writeln!(self.out, "[]"),
            (Output::Json, _) => writeln!(self.out, "\n]"),
            _ => Ok(()),
        }
    }
}

fn markdown(out: &mut impl Write, row: &Row, batches: Batches, is_first: bool) -> io::Result<()> {
    let column = |text: String| if batches == Batches::Differ { text } else { String::new() };
    if is_first {
        let (name, line) = (column(" n_batch |".into()), column(" ---: |".into()));
        writeln!(
            out,
            "| model | size | params | backend |{name} test | t/s | fma_gflops | read_gbps | of_fma | of_read |"
        )?;
        writeln!(out, "| --- | ---: | ---: | --- |{line} ---: | ---: | ---: | ---: | ---: | ---: |")?;
    }
    writeln!(
        out,
        "| {} | {} | {:.2} M | {} |{} {} | {:.2} ± {:.2} | {:.1} | {:.1} | {:.1} % | {:.1} % |",
        row.model_type,
        Bytes(row.model_size),
        row.model_n_params as f64 / 1e6,
        row.backends,
        column(format!(" {} |", row.n_batch)),
        row.test(),
        row.avg_ts,
        row.stddev_ts,
        row.fma_gflops,
        row.read_gbps,
        100.0 * row.of_fma,
        100.0 * row.of_read
    )
}

fn sql(out: &mut impl Write, row: &Row, is_first: bool) -> io::Result<()> {
    let fields = row.fields()?;
    let kind = |value: &Value| match value {
        Value::Number(number) if number.is_f64() => "REAL",
        Value::Number(_) => "INTEGER",
        _ => "TEXT",
    };
    if is_first {
        let scalar = fields.iter().filter(|(_, value)| !value.is_array());
        let columns: Vec<String> = scalar.map(|(name, value)| format!("  {name} {}", kind(value))).collect();
        writeln!(out, "CREATE TABLE IF NOT EXISTS llama_bench (\n{}\n);\n", columns.join(",\n"))?;
    }
    let cells = row.cells()?;
    let names: Vec<&str> = cells.iter().map(|(name, _)| name.as_str()).collect();
    let values: Vec<String> =
        cells.iter().map(|(_, value)| format!("'{}'", value.replace('\'', "''"))).collect();
    writeln!(out, "INSERT INTO llama_bench ({}) VALUES ({});", names.join(", "), values.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n_prompt: usize, n_gen: usize, n_depth: usize) -> Row {
        Row {
            build_commit: "0".into(),
            build_number: 7,
            cpu_info: "a \"quoted\", it's".into(),
            gpu_info: "g".into(),
            backends: "Vulkan".into(),
            model_filename: "m.gguf".into(),
            model_type: "llama".into(),
            model_size: 1 << 20,
            model_n_params: 2_000_000,
            n_batch: 2048,
            n_ubatch: 512,
            type_k: "f16".into(),
            type_v: "f16".into(),
            devices: "g".into(),
            n_prompt,
            n_gen,
            n_depth,
            test_time: "2026-01-01T00:00:00Z".into(),
            avg_ns: 5,
            stddev_ns: 1,
            avg_ts: 1.5,
            stddev_ts: 0.5,
            samples_ns: vec![4, 6],
            samples_ts: vec![1.0, 2.0],
            fma_gflops: 70.0,
            read_gbps: 12.0,
            of_fma: 0.25,
            of_read: 0.5,
        }
    }

    fn printed(output: Output, rows: &[Row]) -> String {
        let mut text = Vec::new();
        let mut printer = Printer::new(&mut text, output, Batches::Same);
        rows.iter().for_each(|row| printer.row(row).unwrap());
        printer.end().unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn tests_have_llama_benchs_names() {
        assert_eq!(row(512, 0, 0).test(), "pp512");
        assert_eq!(row(0, 128, 4096).test(), "tg128 @ d4096");
        assert_eq!(row(512, 128, 0).test(), "pp512+tg128");
    }

    #[test]
    fn every_output_can_be_read_back() {
        let rows = [row(8, 0, 0), row(0, 4, 2)];
        let json: Vec<Value> = serde_json::from_str(&printed(Output::Json, &rows)).unwrap();
        assert_eq!((json.len(), &json[1]["n_depth"]), (2, &Value::from(2)));
        assert_eq!(printed(Output::Json, &[]), "[]\n");
        let lines = printed(Output::Jsonl, &rows);
        let jsonl: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(jsonl, json);
        let csv = printed(Output::Csv, &rows);
        assert_eq!(csv.lines().count(), 3);
        assert!(csv.starts_with("build_commit,build_number,cpu_info,") && !csv.contains("samples"), "{csv}");
        assert!(csv.contains("\"a \"\"quoted\"\", it's\",\"g\""), "{csv}");
        let sql = printed(Output::Sql, &rows);
        assert_eq!((sql.matches("CREATE TABLE").count(), sql.matches("INSERT INTO").count()), (1, 2));
        assert!(sql.contains("  avg_ts REAL,") && sql.contains("  n_gen INTEGER,"), "{sql}");
        assert!(sql.contains("'a \"quoted\", it''s', 'g'"), "{sql}");
        let md = printed(Output::Md, &rows);
        assert_eq!(md.lines().count(), 4);
        assert!(md.contains("| Vulkan | tg4 @ d2 | 1.50 ± 0.50 |"), "{md}");
        let mut text = Vec::new();
        Printer::new(&mut text, Output::Md, Batches::Differ).row(&rows[0]).unwrap();
        let md = String::from_utf8(text).unwrap();
        assert!(md.contains("| n_batch | test |") && md.contains("| Vulkan | 2048 | pp8 |"), "{md}");
        assert!(md.lines().all(|line| line.matches('|').count() == 12), "{md}");
    }
}
