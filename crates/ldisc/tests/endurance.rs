//! Long random use without a host to compare with: nothing panics, nothing becomes ready without a wake.

mod model;

use model::Model;
use oracle_pty::generate;

#[test]
fn anything_may_be_done_to_a_pty() {
    for seed in 0..40 {
        let mut model = Model::new();
        for index in 0..1500 {
            let seed = seed * 1_000_003 + index;
            let steps = if index % 100 == 0 { generate::flooding(seed) } else { vec![generate::step(seed, true)] };
            for step in steps {
                let mut ahead = model.clone();
                if ahead.play(&step).is_some() {
                    assert_eq!(ahead.missed, None, "{step}");
                    model = ahead;
                }
            }
        }
    }
}
