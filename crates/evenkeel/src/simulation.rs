//! The door for the simulation: the shipped driver, with its dice, its clock and its inputs in somebody else's hands.
//!
//! Not part of the public API. Run it on a current-thread runtime with paused time, and the same seed gives the same run.

pub use evenkeel_plan::engine::{Command, Input, Sabotage};

pub use crate::driver::Observer;

use crate::{
    App, Receipt,
    app::Problem,
    dice::Dice,
    driver::{Driver, Harness},
};

/// How a simulated run is driven.
pub struct Simulation {
    /// Seed of the engine's dice.
    pub seed: u64,
    /// Sees each step with its time and what the engine decided; what it returns is put in as the next input.
    pub observer: Observer,
    /// A bug to plant. Has an effect only with the feature `sabotage`.
    pub plant: Option<Sabotage>,
}

impl App {
    /// Runs the app from its start to its end on the current runtime.
    ///
    /// # Errors
    /// The app was refused.
    #[doc(hidden)]
    pub async fn simulate(self, simulation: Simulation) -> Result<Receipt, Vec<Problem>> {
        let mut harness = Harness::on(tokio::runtime::Handle::current());
        harness.samples = false;
        harness.dice = Dice::seeded(simulation.seed);
        harness.observer = Some(simulation.observer);
        #[cfg(feature = "sabotage")]
        {
            harness.plant = simulation.plant;
        }
        Ok(Driver::new(self.build()?, harness).drive().await)
    }
}
