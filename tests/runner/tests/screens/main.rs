//! Terminal programs in `vizor do`, driven through tmux as a person would: what they draw is checked, that they follow a
//! resize, how they end, and that nothing burns CPU while they wait or afterwards.

mod editors;
mod multiplexers;
mod prompts;
mod screen;
mod shells;
mod viewers;
