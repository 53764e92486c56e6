//! Measures Services: of Fairway, of what serves them elsewhere, and of nobody, with the same pods, client and server.

pub mod cell;
pub mod compare;
pub mod environment;
pub mod html;
pub mod load;
pub mod peer;
pub mod plan;
pub mod report;
pub mod rows;
pub mod run;
pub mod services;
pub mod stats;
pub mod table;
pub mod world;
