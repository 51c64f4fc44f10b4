//! Meets a broker once, only to see what is wrong with its certificate.
//!
//! librdkafka says "certificate verify failed" whatever the reason; it tells the reason to a callback, which
//! rust-rdkafka cannot set on the clients that do the work. So a client of its own is made for it.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;

use super::ffi;

/// How long the meeting may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a broker's certificate is refused, or `None` where it could not be found out.
pub fn why_refused(config: &ClientConfig) -> Option<String> {
    let meeting = ffi::Meeting::begin(config)?;
    let until = Instant::now() + TIMEOUT;
    while Instant::now() < until {
        if let Some(line) = meeting.hear(Duration::from_millis(100)) {
            return Some(line);
        }
    }
    None
}
