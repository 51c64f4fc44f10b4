//! Who may ask a running service for what, and what it says to those who may not.

use crate::support::Kafka;
use crate::support::detector::{Answer, Detector, Job, wait_for};

const PROMISE: &str = "
policies:
  - name: one
    objectives: {first-response: {start: created, stop: contacted, within: 1s}}
";
const TOKEN: &str = "a-token-that-nobody-guesses";

/// A service with a token, and what was written to set it up.
fn guarded(kafka: &Kafka) -> (Job<'_>, Detector) {
    let job = Job::new(kafka, 1, PROMISE);
    let token = job.file("token", &format!("{TOKEN}\n"));
    let job = job.set("http.token_file", &token);
    let detector = job.start_ready("");
    (job, detector)
}

fn ask(detector: &Detector, method: &str, path: &str, headers: &[&str]) -> Answer {
    wait_for("the service answers", || detector.ask(method, path, headers).ok_or_else(String::new))
}

#[test]
fn everything_but_health_and_metrics_needs_the_token() {
    let Some(kafka) = Kafka::shared() else { return };
    let (_job, detector) = guarded(kafka);
    let right = format!("Authorization: Bearer {TOKEN}");
    let longer = format!("{right}x");
    for (path, header, status) in [
        ("/livez", None, 200),
        ("/readyz", None, 200),
        ("/metrics", None, 200),
        ("/metrics?x=1", None, 200),
        ("/", None, 401),
        ("/api/v1/clocks", None, 401),
        ("/metrics/", None, 401),
        ("/livez/../api", None, 401),
        ("//livez", None, 401),
        ("/api/v1/clocks", Some("Authorization: Bearer wrong"), 401),
        ("/api/v1/clocks", Some("Authorization: Basic YTpi"), 401),
        ("/api/v1/clocks", Some(longer.as_str()), 401),
        ("/api/v1/clocks", Some(right.as_str()), 404),
        ("/livez", Some("Authorization: Bearer wrong"), 200),
    ] {
        let headers: Vec<_> = header.into_iter().collect();
        let answer = ask(&detector, "GET", path, &headers);
        assert_eq!(answer.status, status, "{path} {header:?}: {}", answer.body);
        let asks = answer.head.contains("www-authenticate: bearer");
        assert_eq!(asks, status == 401, "{path}: {}", answer.head);
    }
    assert!(!detector.said().contains(TOKEN));
}

#[test]
fn without_a_token_what_does_not_exist_is_not_found() {
    let Some(kafka) = Kafka::shared() else { return };
    let detector = Job::new(kafka, 1, PROMISE).start_ready("");
    assert_eq!(ask(&detector, "GET", "/api/v1/clocks", &[]).status, 404);
}

#[test]
fn nothing_is_answered_but_reading() {
    let Some(kafka) = Kafka::shared() else { return };
    let (_job, detector) = guarded(kafka);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        for path in ["/metrics", "/api/v1/clocks"] {
            let answer = ask(&detector, method, path, &[]);
            assert_eq!(answer.status, 405, "{method} {path}");
            assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
        }
    }
    let head = ask(&detector, "HEAD", "/livez", &[]);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(ask(&detector, "GET", "/livez", &["Content-Length: 5"]).status, 413);
}

#[test]
fn every_answer_is_kept_from_browsers_caches_and_frames() {
    let Some(kafka) = Kafka::shared() else { return };
    let (_job, detector) = guarded(kafka);
    for (method, path) in [("GET", "/metrics"), ("GET", "/livez"), ("GET", "/x"), ("POST", "/x")] {
        let head = ask(&detector, method, path, &[]).head;
        for line in [
            "content-security-policy: default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "x-frame-options: deny",
            "cache-control: no-store",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.lines().any(|found| found == line), "{method} {path} lacks `{line}`: {head}");
        }
        assert!(!head.contains("\nserver:") && !head.contains("axum") && !head.contains("hyper"), "{head}");
    }
}

#[test]
fn too_much_and_too_slow_is_turned_away() {
    let Some(kafka) = Kafka::shared() else { return };
    let (_job, detector) = guarded(kafka);
    let large = format!("X-Large: {}", "x".repeat(64 * 1024));
    let refused = detector.ask("GET", "/livez", &[&large]);
    assert!(refused.is_none_or(|answer| answer.status == 431), "a head of 64 KiB was taken");
    let many: Vec<_> = (0..100).map(|n| format!("X-{n}: y")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let refused = detector.ask("GET", "/livez", &many);
    assert!(refused.is_none_or(|answer| answer.status == 431), "100 header fields were taken");
    // A head that never ends: the service hangs up, or this would wait longer than a page may take.
    let slow = detector.say("GET /livez HTTP/1.1\r\nHost: overdue\r\n");
    assert!(slow.is_none_or(|answer| answer.status == 408), "a head without an end was answered");
    assert_eq!(ask(&detector, "GET", "/livez", &[]).status, 200);
}

#[test]
fn a_service_that_others_reach_without_a_token_warns() {
    let Some(kafka) = Kafka::shared() else { return };
    let warning = "and there is no `http.token_file`";
    let open = Job::new(kafka, 1, PROMISE).set("http.listen", "0.0.0.0:0");
    let token = open.file("token", TOKEN);
    assert!(open.start_ready("").said().contains(warning));
    assert!(open.command("check").1.contains(warning));
    let guarded = open.set("http.token_file", &token);
    assert!(!guarded.start_ready("").said().contains(warning));
    assert!(!guarded.command("check").1.contains(warning));
    let local = Job::new(kafka, 1, PROMISE);
    assert!(!local.start_ready("").said().contains(warning));
}

#[test]
fn a_token_that_could_be_guessed_is_refused() {
    let Some(kafka) = Kafka::shared() else { return };
    for text in ["", "short", "has a space in its middle", "fünfzehn-zeichen-und-mehr"] {
        let job = Job::new(kafka, 1, PROMISE);
        let token = job.file("token", text);
        let (code, said) = job.set("http.token_file", &token).refusal();
        assert_eq!(code, Some(78), "{text}");
        assert!(said.contains("must hold one token of at least 16 visible ASCII characters"), "{said}");
        assert!(text.is_empty() || !said.contains(text), "{said}");
    }
}
