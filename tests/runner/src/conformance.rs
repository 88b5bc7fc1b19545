//! The conformance suite: the C cases run natively and under Vizor, and must agree but for the known differences.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::runs::{Launcher, Outcome, Outcomes, Verdict};
use crate::{build, expectations};

/// The time for one whole pass over the suite.
const SUITE_LIMIT: Duration = Duration::from_secs(15 * 60);

pub struct Options {
    pub native_only: bool,
    pub verbose: bool,
    /// How long one case may take, in seconds.
    pub limit: u64,
    /// Only cases whose name holds one of these; all when empty.
    pub filters: Vec<String>,
}

impl Options {
    /// Reads the command line; `VIZOR_NATIVE_ONLY` counts as `--native-only`.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
        let native_only = std::env::var_os("VIZOR_NATIVE_ONLY").is_some_and(|v| !v.is_empty() && v != "0");
        let mut options = Options { native_only, verbose: false, limit: 10, filters: Vec::new() };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--native-only" => options.native_only = true,
                "--verbose" | "-v" => options.verbose = true,
                "--limit" => {
                    let value = args.next().unwrap_or_default();
                    options.limit = value.parse().map_err(|_| "--limit needs a number of seconds")?;
                }
                "--filter" => options.filters.push(args.next().ok_or("--filter needs a value")?),
                // What cargo's own test harness would take.
                "--nocapture" | "--quiet" | "-q" => {}
                _ if arg.starts_with('-') => return Err(format!("unknown option {arg}")),
                _ => options.filters.push(arg),
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|f| name.contains(f.as_str()))
    }
}

/// What came of a case, natively and under Vizor.
#[derive(Debug, PartialEq, Eq)]
enum Comparison {
    Agrees,
    Skipped(String),
    Known(String),
    Differs(String),
}

fn compare(native: &Outcome, vizor: Option<&Outcome>, known: Option<&String>) -> Comparison {
    match &native.verdict {
        Verdict::Fail(why) => return Comparison::Differs(format!("fails natively: {why}")),
        Verdict::Skip(why) => return Comparison::Skipped(why.clone()),
        Verdict::Pass => {}
    }
    let Some(vizor) = vizor else { return Comparison::Agrees };
    let difference = match &vizor.verdict {
        Verdict::Fail(why) => Some(why.clone()),
        Verdict::Skip(why) => Some(format!("skipped, but not natively: {why}")),
        Verdict::Pass if native.records != vizor.records => {
            let (was, is) = first_difference(&native.records, &vizor.records);
            Some(format!("recorded {is}, natively {was}"))
        }
        Verdict::Pass => None,
    };
    match (difference, known) {
        (None, None) => Comparison::Agrees,
        (None, Some(_)) => Comparison::Differs("agrees, but is listed as a known difference".to_string()),
        (Some(_), Some(reason)) => Comparison::Known(reason.clone()),
        (Some(why), None) => Comparison::Differs(why),
    }
}

fn first_difference<'a>(native: &'a [String], vizor: &'a [String]) -> (&'a str, &'a str) {
    let longest = native.len().max(vizor.len());
    let at = |list: &'a [String], i: usize| list.get(i).map_or("nothing", String::as_str);
    (0..longest).map(|i| (at(native, i), at(vizor, i))).find(|(a, b)| a != b).unwrap_or(("nothing", "nothing"))
}

/// Runs the suite and prints its report; true if all agreed.
pub fn run(options: &Options) -> io::Result<bool> {
    let program = build::conformance_program()?;
    let launcher = |name, prefix: Vec<PathBuf>| Launcher {
        name,
        prefix,
        program: program.clone(),
        limit: options.limit,
        verbose: options.verbose,
    };
    let native = launcher("native", Vec::new());
    let all = native.list()?;
    let names: Vec<String> = all.iter().filter(|n| options.wants(n)).cloned().collect();
    let list = build::workspace().join("tests/conformance/expectations.txt");
    let known = expectations::parse(&std::fs::read_to_string(&list)?)
        .map_err(|e| io::Error::other(format!("{}: {e}", list.display())))?;
    let deadline = || Instant::now() + SUITE_LIMIT;
    let here = native.run(&names, deadline());
    // Once as it is, and once with every call trapping: the two take different ways to the kernel.
    let mut comparisons = Vec::new();
    for (name, flag) in [("vizor", None), ("unpatched", Some("--no-patching"))] {
        let there = if options.native_only {
            None
        } else {
            let mut prefix = vec![build::vizor_binary()?, "do".into()];
            prefix.extend(flag.map(PathBuf::from));
            prefix.push("--".into());
            Some(launcher(name, prefix).run(&names, deadline()))
        };
        let label = |case: &str| flag.map_or(case.to_string(), |flag| format!("{case} ({flag})"));
        let compared = compare_all(&names, &here, there.as_ref(), &known);
        comparisons.extend(compared.into_iter().map(|(case, comparison)| (label(case), comparison)));
        if options.native_only {
            break;
        }
    }

    let mut failures = 0;
    for name in known.keys().filter(|name| !all.contains(name)) {
        println!("FAIL {name}: listed as a known difference, but there is no such case");
        failures += 1;
    }
    let mut counts = [0usize; 3];
    for (name, comparison) in &comparisons {
        match comparison {
            Comparison::Agrees => counts[0] += 1,
            Comparison::Skipped(why) => {
                counts[1] += 1;
                println!("SKIP {name}: {why}");
            }
            Comparison::Known(why) => {
                counts[2] += 1;
                println!("KNOWN {name}: {why}");
            }
            Comparison::Differs(why) => {
                failures += 1;
                println!("FAIL {name}: {why}");
            }
        }
    }
    let [passed, skipped, known] = counts;
    if skipped + known > 0 {
        println!("{skipped} skipped, {known} known differences");
    }
    println!("{passed} passed, {failures} failed");
    Ok(failures == 0)
}

fn compare_all<'a>(
    names: &'a [String],
    here: &Outcomes,
    there: Option<&Outcomes>,
    known: &std::collections::BTreeMap<String, String>,
) -> Vec<(&'a str, Comparison)> {
    let missing = Outcome { verdict: Verdict::Fail("not run".to_string()), records: Vec::new() };
    let outcome = |outcomes: &Outcomes, name: &str| outcomes.get(name).unwrap_or(&missing).clone();
    names
        .iter()
        .map(|name| {
            let vizor = there.map(|outcomes| outcome(outcomes, name));
            (name.as_str(), compare(&outcome(here, name), vizor.as_ref(), known.get(name)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(verdict: Verdict, records: &[&str]) -> Outcome {
        Outcome { verdict, records: records.iter().map(|r| r.to_string()).collect() }
    }

    #[test]
    fn a_difference_in_records_counts() {
        let native = outcome(Verdict::Pass, &["a = 1", "b = 2"]);
        assert_eq!(compare(&native, Some(&native), None), Comparison::Agrees);
        let vizor = outcome(Verdict::Pass, &["a = 1", "b = 3"]);
        let why = "recorded b = 3, natively b = 2".to_string();
        assert_eq!(compare(&native, Some(&vizor), None), Comparison::Differs(why));
        let short = outcome(Verdict::Pass, &["a = 1"]);
        assert!(matches!(compare(&native, Some(&short), None), Comparison::Differs(_)));
    }

    #[test]
    fn known_differences_must_differ() {
        let pass = outcome(Verdict::Pass, &[]);
        let fail = outcome(Verdict::Fail("x".into()), &[]);
        let reason = "later".to_string();
        assert_eq!(compare(&pass, Some(&fail), Some(&reason)), Comparison::Known(reason.clone()));
        assert!(matches!(compare(&pass, Some(&pass), Some(&reason)), Comparison::Differs(_)));
        assert!(matches!(compare(&fail, Some(&fail), Some(&reason)), Comparison::Differs(_)));
    }
}
