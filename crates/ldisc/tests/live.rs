//! Plays random cases on the line discipline and on the host's pty side by side; they must agree step by step.
//!
//! Since Linux moves bytes in a worker thread, a case that disagrees is played again, and only counts if it keeps
//! disagreeing; and a case ends early where the outcome is the worker's timing's. Neither may be so often that the
//! comparison says little. Time and seed: `VIZOR_LIVE_SECONDS` (20) and `VIZOR_LIVE_SEED` (from the clock).

mod model;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, process};

use model::Model;
use oracle_pty::{Case, HostPty, Step, When, generate, in_session, text};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// How long to wait for the kernel's workers.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long to look for a smaller case.
const SHRINKING: Duration = Duration::from_secs(30);
/// How often a disagreement must show to count.
const TRIES: usize = 3;
/// Of a hundred cases, at most so many may end early, and as many be played again.
const CUT_MAX: usize = 10;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// How a case that agrees ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Played,
    /// Left off where what comes next depends on the timing of the host's workers.
    TimingShows,
}

/// Plays a case on both; returns a description of the first disagreement.
fn compare(steps: &[Step]) -> Result<End, String> {
    let mut host = HostPty::new().map_err(|error| format!("no pty: {error}"))?;
    let mut model = Model::new();
    for (index, step) in steps.iter().enumerate() {
        let mut ahead = model.clone();
        let Some(expected) = ahead.play(step) else { continue };
        if ahead.timing_shows() {
            return Ok(End::TimingShows);
        }
        let actual = host
            .play_expecting(step, &expected.state, PATIENCE)
            .map_err(|error| format!("step {index} `{step}` failed: {error}"))?;
        if expected != actual {
            return Err(format!("step {index} `{step}`\n   host: {actual}\n  model: {expected}"));
        }
        if let Some(missed) = &ahead.missed {
            return Err(format!("step {index} `{step}`: {missed}"));
        }
        model = ahead;
    }
    Ok(End::Played)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let settings = any::<u64>().prop_map(|seed| Step::Termios(When::Now, generate::termios(seed)));
    let mixed = prop::collection::vec(any::<u64>().prop_map(|seed| generate::step(seed, true)), 1..40);
    let flooding = any::<u64>().prop_map(generate::flooding);
    let rest = prop_oneof![12 => mixed, 1 => flooding];
    (settings, rest).prop_map(|(first, mut steps)| {
        steps.insert(0, first);
        steps
    })
}

/// Plays a case until it agrees, and counts the vain attempts; if it does not agree, says how it disagreed at last.
fn check(steps: &[Step]) -> Result<(End, usize), String> {
    let mut problem = String::new();
    for strays in 0..TRIES {
        match compare(steps) {
            Ok(end) => return Ok((end, strays)),
            Err(found) => problem = found,
        }
    }
    Err(problem)
}

fn run() -> i32 {
    let seed = number("VIZOR_LIVE_SEED", SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs()));
    let limit = Duration::from_secs(number("VIZOR_LIVE_SECONDS", 20));
    let start = Instant::now();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let strategy = steps();
    let (mut cases, mut strays, mut cut) = (0, 0, 0);
    while start.elapsed() < limit {
        let steps = strategy.new_tree(&mut runner).expect("a case").current();
        match check(&steps) {
            Ok((end, again)) => {
                cases += 1;
                strays += again;
                cut += usize::from(end == End::TimingShows);
            }
            Err(problem) => {
                let (steps, problem) = shrink(steps, problem);
                eprintln!("seed {seed}: disagrees with the host after {cases} cases, at {problem}");
                eprint!("{}", text::render_steps(&Case { name: "shrunk".to_owned(), steps }));
                return 1;
            }
        }
    }
    println!(
        "seed {seed}: {cases} cases agree with the host ({cut} as far as timing allows; {strays} were played again)"
    );
    if cases >= 100 && cut.max(strays) * 100 > cases * CUT_MAX {
        eprintln!("seed {seed}: too many of them say nothing (at most {CUT_MAX} %)");
        return 1;
    }
    0
}

/// Looks for a smaller case that disagrees, for a while: leaves out steps, and halves of what is written.
fn shrink(mut steps: Vec<Step>, mut problem: String) -> (Vec<Step>, String) {
    let start = Instant::now();
    let mut keep = |steps: &mut Vec<Step>, smaller: Vec<Step>| {
        let found = if start.elapsed() < SHRINKING { check(&smaller).err() } else { None };
        let Some(found) = found else { return false };
        (*steps, problem) = (smaller, found);
        true
    };
    let mut progress = true;
    while progress {
        progress = false;
        for index in (0..steps.len()).rev() {
            let mut smaller = steps.clone();
            smaller.remove(index);
            if keep(&mut steps, smaller) {
                progress = true;
                continue;
            }
            while let Some(Step::Write(_, bytes)) = steps.get(index) {
                let middle = bytes.len() / 2;
                let halves = [bytes[..middle].to_vec(), bytes[middle..].to_vec()];
                let smaller = halves.map(|half| {
                    let mut smaller = steps.clone();
                    if let Some(Step::Write(_, bytes)) = smaller.get_mut(index) {
                        *bytes = half;
                    }
                    smaller
                });
                if middle == 0 || !smaller.into_iter().any(|smaller| keep(&mut steps, smaller)) {
                    break;
                }
                progress = true;
            }
        }
    }
    (steps, problem)
}

fn main() {
    if !HostPty::available() {
        println!("skipped: this host has no /dev/ptmx");
        return;
    }
    match in_session(run) {
        Ok(status) => process::exit(status),
        Err(error) => panic!("no session to test in: {error}"),
    }
}
