//! Random histories: after every step every replica reads as the textbook says.

use crate::world::World;

/// Runs a history; says what went wrong, with its story.
pub(crate) fn run(seed: u64, steps: usize) -> Result<(), String> {
    let mut world = World::new(seed);
    let mut all = || {
        for _ in 0..steps {
            world.step()?;
        }
        world.settle()
    };
    all().map_err(|e| format!("seed {seed}, {steps} steps: {e}\n{}", world.story.join("\n")))
}

/// How long the history of a seed is: short ones make short stories.
pub(crate) fn steps(seed: u64) -> usize {
    [5, 15, 40, 80][seed as usize % 4]
}
