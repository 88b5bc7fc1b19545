//! Records cases on the host's pty: `record-pty DIRECTORY` writes the scripted ones and a fixed set of generated ones.
//! `record-pty --play FILE` plays the cases of a file and prints what comes of them.

use oracle_pty::{Case, HostPty, generate, in_session, script, text};
use std::error::Error;
use std::path::Path;
use std::{env, fs, process};

/// Seeds of the generated cases: a range in which no flush meets output that is still on its way.
const GENERATED: std::ops::Range<u64> = 30..90;

/// Records a case twice, and again until two recordings in a row are the same.
fn record(case: &Case) -> Result<String, Box<dyn Error>> {
    let mut before = play(case)?;
    loop {
        let after = play(case)?;
        if after == before {
            return Ok(after);
        }
        eprintln!("{}: not the same twice; once more", case.name);
        before = after;
    }
}

fn play(case: &Case) -> Result<String, Box<dyn Error>> {
    let mut pty = HostPty::new()?;
    let outcomes = case.steps.iter().map(|step| pty.play(step)).collect::<Result<Vec<_>, _>>();
    let outcomes = outcomes.map_err(|error| format!("{}: {error}", case.name))?;
    Ok(text::render(case, &outcomes))
}

fn write(folder: &Path, name: &str, cases: impl Iterator<Item = Case>) -> Result<(), Box<dyn Error>> {
    let recorded = cases.map(|case| record(&case)).collect::<Result<Vec<_>, _>>()?;
    println!("{name}: {} cases", recorded.len());
    fs::write(folder.join(name).with_extension("txt"), recorded.join("\n"))?;
    Ok(())
}

fn run() -> Result<(), Box<dyn Error>> {
    let folder = env::args_os().nth(1).ok_or("usage: record-pty DIRECTORY, or record-pty --play FILE")?;
    if folder == "--play" {
        let content = fs::read_to_string(env::args_os().nth(2).ok_or("no file")?)?;
        for (case, _) in text::parse(&content)? {
            print!("{}", play(&case)?);
        }
        return Ok(());
    }
    let folder = Path::new(&folder);
    for (name, cases) in script::files() {
        write(folder, name, cases.into_iter())?;
    }
    write(folder, "generated", GENERATED.map(generate::case))
}

fn main() -> Result<(), Box<dyn Error>> {
    let status = in_session(|| match run() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            1
        }
    })?;
    process::exit(status);
}
