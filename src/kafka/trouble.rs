//! What the client library's errors and log lines say is wrong, in words that are the same each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::client::Configs;
use super::{KafkaSettings, error, handshake};
use crate::runtime::trouble::{Kind, Source, Troubles};

/// The troubles of one worker's clients.
pub struct Trouble {
    all: Arc<Troubles>,
    worker: Option<usize>,
    /// How to meet a broker once more, to see what its certificate lacks.
    meeting: Option<ClientConfig>,
    is_meeting: Arc<AtomicBool>,
}

impl Trouble {
    /// Those of this worker.
    pub fn of_worker(settings: &KafkaSettings) -> Arc<Trouble> {
        Trouble::of(settings, Some(settings.worker))
    }

    /// Those of a process that has no worker yet.
    pub fn of_start(settings: &KafkaSettings) -> Arc<Trouble> {
        Trouble::of(settings, None)
    }

    /// Those that nobody else hears of.
    pub fn unheard() -> Arc<Trouble> {
        Arc::new(Trouble { all: Arc::default(), worker: None, meeting: None, is_meeting: Arc::default() })
    }

    fn of(settings: &KafkaSettings, worker: Option<usize>) -> Arc<Trouble> {
        let meeting = Some(Configs::of(settings).admin());
        Arc::new(Trouble { all: Arc::clone(&settings.troubles), worker, meeting, is_meeting: Arc::default() })
    }

    /// Takes an error that concerns a whole client.
    pub fn meet(&self, role: &'static str, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        let text = if reason.is_empty() { error::text(error) } else { reason.to_owned() };
        match (kind(code, &text), code) {
            // What comes of something that was said already.
            (_, Some(Code::AllBrokersDown)) if self.all.needing_somebody().is_some() => {}
            // The group knows what it asked for, and says so itself.
            (Kind::Authorization, _) if role == "group" => {}
            (Kind::Tls, _) if is_about_broker(&text) => self.look_closer(role, &text),
            (Kind::Tls, _) => self.see(role, Kind::Tls, &in_words(&text, self.shows_certificate())),
            (kind, _) => self.see(role, kind, &plain(&text)),
        }
    }

    /// Takes a line about a topic that could not be added to a transaction. The records' own reports do not say
    /// why: they are purged.
    pub fn meet_refused_topic(&self, role: &'static str, line: &str) {
        let Some((_, rest)) = line.split_once("Failed to add partition \"") else { return };
        let Some((topic, _)) = rest.split_once('"') else { return };
        if rest.ends_with("authorization failed") {
            self.see(role, Kind::Authorization, &format!("the topic `{topic}` may not be written to"));
        }
    }

    /// Keeps a trouble that will be seen again while it lasts.
    pub fn see(&self, role: &'static str, kind: Kind, text: &str) {
        self.all.see(self.source(role), kind, text, false);
    }

    /// Keeps a refusal that the library tells once.
    pub fn refused_once(&self, role: &'static str, text: &str) {
        self.all.see(self.source(role), Kind::Authorization, text, true);
    }

    /// Keeps a refusal, where the error is one.
    pub fn see_refusal(&self, role: &'static str, code: Option<Code>, text: &str) {
        if code.is_some_and(error::refuses) {
            self.see(role, Kind::Authorization, text);
        }
    }

    /// A client has done what it could not do.
    pub fn over(&self, role: &'static str) {
        self.all.over(self.source(role));
    }

    /// All clients do what they should.
    pub fn all_over(&self) {
        self.all.over_for(self.worker);
    }

    /// What it was, while it lasts.
    pub fn recent(&self) -> Option<String> {
        self.all.latest(self.worker)
    }

    /// Whether the clients have a certificate of their own.
    fn shows_certificate(&self) -> bool {
        let names = ["ssl.certificate.location", "ssl.certificate.pem", "ssl.keystore.location"];
        self.meeting.as_ref().is_some_and(|config| names.iter().any(|name| config.get(name).is_some()))
    }

    fn source(&self, role: &'static str) -> Source {
        Source { worker: self.worker, role }
    }

    /// The library does not say why it refuses a certificate: meets the broker once more to find out, in a
    /// thread of its own, because this may be called from anywhere.
    fn look_closer(&self, role: &'static str, text: &str) {
        let text = in_words(text, self.shows_certificate());
        let Some(config) = self.meeting.clone() else { return self.see(role, Kind::Tls, &text) };
        if self.is_meeting.swap(true, Ordering::AcqRel) {
            return;
        }
        let (all, source) = (Arc::clone(&self.all), self.source(role));
        let is_meeting = Arc::clone(&self.is_meeting);
        let looking = move || {
            let found = handshake::why_refused(&config);
            let text = found.map_or(text, |why| format!("the brokers' certificate is not accepted: {why}"));
            all.see(source, Kind::Tls, &text, false);
            is_meeting.store(false, Ordering::Release);
        };
        if thread::Builder::new().name("handshake".into()).spawn(looking).is_err() {
            self.is_meeting.store(false, Ordering::Release);
        }
    }
}

fn kind(code: Option<Code>, text: &str) -> Kind {
    match code {
        Some(Code::Authentication | Code::SaslAuthenticationFailed) => Kind::Authentication,
        Some(Code::SSL) => Kind::Tls,
        // An alert that comes after the handshake ends the connection like any other.
        _ if text.contains("SSL alert") || text.contains("tls_") || text.contains(" alert ") => Kind::Tls,
        Some(code) if error::refuses(code) => Kind::Authorization,
        Some(code) if error::is_outage(code) => Kind::Unreachable,
        _ => Kind::Other,
    }
}

fn is_about_broker(text: &str) -> bool {
    text.contains("certificate verify failed") || text.contains("certificate could not be verified")
}

/// What a broken handshake means to whoever set it up.
fn in_words(text: &str, shows_certificate: bool) -> String {
    let not_taken = "the brokers do not take this client's certificate";
    let told = |alert: &str| text.contains(alert);
    // Java calls a missing one a bad one.
    if told("certificate required") || (told("alert bad certificate") && !shows_certificate) {
        "the brokers ask for a client certificate and got none: set `ssl.certificate.location` and \
         `ssl.key.location`"
            .to_owned()
    } else if told("alert certificate expired") {
        format!("{not_taken}: it has expired")
    } else if told("alert unknown ca") {
        format!("{not_taken}: they do not trust who signed it")
    } else if told("alert certificate unknown") || told("alert bad certificate") {
        // Java says no more, whatever it is.
        format!("{not_taken}: it has expired, is not yet valid, or they do not trust who signed it")
    } else if is_about_broker(text) {
        "the brokers' certificate is not accepted: `ssl.ca.location` may name another authority".to_owned()
    } else {
        plain(text)
    }
}

/// A line without what differs from connection to connection: the thread's name, the client's way to say which
/// broker, and how long it took.
pub fn plain(text: &str) -> String {
    let text =
        text.split_once("]: ").filter(|(head, _)| head.starts_with("[thrd:")).map_or(text, |(_, rest)| rest);
    let text = match text.split_once(": ") {
        Some((head, rest)) if head.contains("://") || head.ends_with("Coordinator") => rest,
        _ => text,
    };
    let is_address = |head: &str| head.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let text = match text.split_once(": ") {
        Some((head, rest)) if is_address(head) => rest,
        _ => text,
    };
    text.rsplit_once(" (after ").map_or(text, |(text, _)| text).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Code, Kind, in_words, kind, plain};

    #[test]
    fn the_same_trouble_has_the_same_words_on_every_connection() {
        let wanted = "SASL authentication error: invalid credentials";
        for line in [
            "sasl_ssl://127.0.0.1:1/bootstrap: SASL authentication error: invalid credentials (after 5ms in state AUTH_REQ)",
            "sasl_ssl://127.0.0.1:1/1: SASL authentication error: invalid credentials (after 7ms in state AUTH_REQ, 4 identical error(s) suppressed)",
            "GroupCoordinator: 127.0.0.1:1: SASL authentication error: invalid credentials (after 7ms in state AUTH_REQ)",
            "[thrd:x/bootstrap]: sasl_ssl://h:1/bootstrap: SASL authentication error: invalid credentials",
        ] {
            assert_eq!(plain(line), wanted, "{line}");
        }
        assert_eq!(plain("2/2 brokers are down"), "2/2 brokers are down");
    }

    #[test]
    fn an_alert_after_the_handshake_is_no_outage() {
        let text = "ssl://h:1/1: Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required: SSL alert number 116";
        assert_eq!(kind(Some(Code::BrokerTransportFailure), text), Kind::Tls);
        assert!(in_words(text, true).contains("ssl.certificate.location"));
        let bad = "sslv3 alert bad certificate: SSL alert number 42";
        assert!(in_words(bad, false).contains("got none") && !in_words(bad, true).contains("got none"));
        assert_eq!(kind(Some(Code::BrokerTransportFailure), "Disconnected"), Kind::Unreachable);
        assert_eq!(kind(Some(Code::GroupAuthorizationFailed), "no"), Kind::Authorization);
    }
}
