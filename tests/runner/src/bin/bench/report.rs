//! The table, its JSON, and the comparison with an earlier run's.

use crate::rows::Limit;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{Error, Result};
use std::path::Path;

/// What kind of thing a row measures.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Call,
    Program,
    Sandbox,
}

pub struct Row {
    pub name: String,
    pub kind: Kind,
    pub unit: &'static str,
    pub native: f64,
    pub vizor: f64,
    pub limit: Limit,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.vizor / self.native
    }

    fn is_over(&self) -> bool {
        match self.limit {
            Limit::Ratio(most) => self.ratio() > most,
            Limit::Value(most) => self.vizor > most,
            Limit::Beyond(most) => self.vizor - self.native > most,
        }
    }
}

/// A row whose ratio grew by more than this since the earlier run is marked: less is noise.
const WORSE: f64 = 1.25;

/// The ratios of an earlier run, by row.
pub struct Baseline(HashMap<String, f64>);

impl Baseline {
    /// # Errors
    /// If there is no such file, or it is none of this tool's.
    pub fn read(path: &Path) -> Result<Baseline> {
        let rows: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path)?).map_err(Error::other)?;
        let ratio = |row: &Value| Some((row.get("name")?.as_str()?.to_owned(), row.get("ratio")?.as_f64()?));
        Ok(Baseline(rows.iter().filter_map(ratio).collect()))
    }
}

pub struct Report {
    pub rows: Vec<Row>,
    pub baseline: Baseline,
}

impl Report {
    pub fn print_head() {
        println!(
            "{:22} {:>12} {:>12}     {:>7} {:>9} {:>8}",
            "workload", "native", "vizor", "ratio", "at most", "before"
        );
    }

    pub fn add(&mut self, row: Row) {
        let before = self.baseline.0.get(&row.name).copied();
        let limit = match row.limit {
            Limit::Ratio(most) => format!("{most:.1}"),
            Limit::Value(most) => format!("{most:.0} {}", row.unit),
            Limit::Beyond(most) => format!("+{most:.0} {}", row.unit),
        };
        println!(
            "{:22} {:12.1} {:12.1} {:3} {:7.2} {limit:>9} {:>8}{}{}",
            row.name,
            row.native,
            row.vizor,
            row.unit,
            row.ratio(),
            before.map_or(String::from("-"), |b| format!("{b:.2}")),
            if row.is_over() { "  over" } else { "" },
            if before.is_some_and(|b| row.ratio() > b * WORSE) { "  worse" } else { "" },
        );
        self.rows.push(row);
    }

    /// The geometric mean of the ratios of one kind.
    pub fn mean(&self, kind: Kind) -> f64 {
        let rows = self.rows.iter().filter(|row| row.kind == kind);
        let logs: Vec<f64> = rows.map(|row| row.ratio().ln()).filter(|log| log.is_finite()).collect();
        (logs.iter().sum::<f64>() / logs.len() as f64).exp()
    }

    pub fn json(&self) -> String {
        let round = |value: f64| (value * 1000.0).round() / 1000.0;
        let rows = self.rows.iter().map(|row| {
            json!({
                "name": row.name,
                "unit": row.unit,
                "native": round(row.native),
                "vizor": round(row.vizor),
                "ratio": round(row.ratio()),
            })
        });
        let lines: Vec<String> = rows.map(|row| format!("  {row}")).collect();
        format!("[\n{}\n]\n", lines.join(",\n"))
    }
}
