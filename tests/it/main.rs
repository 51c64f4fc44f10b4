//! Every test that crosses a process boundary, in one binary: one link, and one broker shared by all.

mod conformance;
mod deploy;
mod detector;
mod detector_input;
mod detector_lost;
mod detector_service;
mod examples;
mod explain;
mod hostile;
mod http;
mod kafka_helper;
mod kafka_port;
mod limits;
mod policies;
mod secrets;
mod security;
mod soak;
mod support;
mod verify;
