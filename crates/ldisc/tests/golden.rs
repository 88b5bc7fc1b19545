//! Replays what a real Linux pty was recorded doing (`record-pty`, in `tests/oracle-pty`).

mod model;

use model::Model;
use oracle_pty::text;
use std::fs;

#[test]
fn the_line_discipline_does_what_linux_did() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let mut cases = 0;
    for entry in fs::read_dir(folder).expect("the golden folder") {
        let path = entry.expect("an entry").path();
        let content = fs::read_to_string(&path).expect("a golden file");
        for (case, outcomes) in text::parse(&content).unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
            let mut model = Model::new();
            assert_eq!(case.steps.len(), outcomes.len(), "{}: {}", path.display(), case.name);
            for (step, expected) in case.steps.iter().zip(&outcomes) {
                let actual = model.play(step).map_or_else(|| "waits".to_owned(), |outcome| outcome.to_string());
                assert_eq!(&actual, expected, "{}: case {}, step `{step}`", path.display(), case.name);
            }
            assert!(!model.timing_shows(), "{} is no case for a recording", case.name);
            assert_eq!(model.missed, None, "{}: case {}", path.display(), case.name);
            cases += 1;
        }
    }
    assert!(cases > 0, "no recordings");
}
