//! Sources of settings, and what is made of them or said of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Config, KeyedBy, Partitioner, UnknownTypes, load};
use crate::config::{Problems, Sources};

const POLICIES: &str = "policies: [{name: all, objectives: {}}]";
/// The settings that have no default.
const NEEDED: &[&str] = &["kafka.brokers=localhost:9092", "input.topics=lead-events"];

/// A folder with policies and these settings.
struct Folder {
    dir: TempDir,
    sources: Sources,
}

impl Folder {
    fn new(settings: &str) -> Folder {
        let dir = TempDir::new().expect("a folder");
        let folder = Folder { dir, sources: Sources::default() };
        folder.write("policies.yaml", POLICIES);
        folder.file("overdue.yaml", settings)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file is written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(mut self, name: &str, text: &str) -> Folder {
        self.write(name, text);
        self.sources.files.push(self.path(name));
        self
    }

    fn env(mut self, name: &str, value: &str) -> Folder {
        self.sources.env.insert(name.to_string(), value.to_string());
        self
    }

    fn sets(mut self, sets: &[&str]) -> Folder {
        self.sources.sets.extend(sets.iter().map(|set| set.to_string()));
        self
    }

    fn load(&self) -> Result<Config, Problems> {
        load(&self.sources)
    }

    #[track_caller]
    fn config(&self) -> Config {
        self.load().unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// The problems, each without the folder and the line that is shown.
    fn problems(&self) -> Vec<String> {
        let folder = format!("{}/", self.dir.path().display());
        let problems = self.load().expect_err("problems");
        let first = |problem: &crate::config::Problem| {
            problem.to_string().lines().next().unwrap_or_default().replace(&folder, "")
        };
        problems.0.iter().map(first).collect()
    }
}

/// Checks that settings laid over what is needed have these problems and no other.
#[track_caller]
fn refused(settings: &str, expected: &[&str]) {
    let needed = BTreeMap::from([
        ("OVERDUE__KAFKA__BROKERS".to_string(), "b:1".to_string()),
        ("OVERDUE__INPUT__TOPICS".to_string(), "in".to_string()),
    ]);
    let mut folder = Folder::new(settings);
    folder.sources.env = needed;
    assert_eq!(folder.problems(), expected, "{settings}");
}

#[test]
fn the_shipped_file_holds_the_defaults() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/overdue.yaml");
    let shipped = load(&Sources { files: vec![shipped], ..Sources::default() }).expect("a valid file");
    let defaults = Folder::new("").sets(NEEDED).config();
    assert_eq!(shipped.kafka, defaults.kafka);
    assert_eq!(shipped.input, defaults.input);
    assert_eq!(shipped.retention, defaults.retention);
    assert_eq!(shipped.output, defaults.output);
    assert_eq!((&shipped.changelog, shipped.workers), (&defaults.changelog, defaults.workers));
    assert_eq!(shipped.commit_interval_ms, defaults.commit_interval_ms);
    assert_eq!(shipped.http, defaults.http);
    assert_eq!(shipped.policies.policies.policies.len(), 3);
}

#[test]
fn defaults_are_as_documented() {
    let config = Folder::new("").sets(NEEDED).config();
    assert_eq!((config.kafka.group.as_str(), &config.kafka.instance), ("overdue", &None));
    assert!(config.kafka.create_topics && config.kafka.properties.is_empty());
    let input = &config.input;
    assert_eq!(
        (input.grace_ms, input.future_skew_max_ms, input.lateness_max_ms),
        (5000, 300_000, 604_800_000)
    );
    assert_eq!((input.facts_max, input.keyed_by), (10_000, KeyedBy::LeadId));
    assert_eq!((input.partitioner, input.unknown_types), (Partitioner::Auto, UnknownTypes::DeadLetter));
    assert_eq!((config.retention.closed_ms, config.retention.idle_ms), (604_800_000, 34_560_000_000));
    assert_eq!(config.output.breaches, "overdue.breaches");
    assert_eq!((&config.output.outcomes, config.output.dead_letter.as_str()), (&None, "overdue.dead-letter"));
    assert_eq!((config.changelog.as_str(), config.workers), ("overdue.changelog", 0));
    assert_eq!((config.commit_interval_ms, config.http.listen.to_string().as_str()), (100, "127.0.0.1:9464"));
}

#[test]
fn later_sources_win() {
    let folder = Folder::new("kafka: {group: file-1, instance: a}\ninput: {grace: 1s}\nworkers: 1")
        .file("more.yaml", "kafka: {group: file-2}\ninput: {grace: 2s, lateness_max: 1d}\nworkers:\n")
        .env("OVERDUE__KAFKA__GROUP", "variable")
        .env("OVERDUE__INPUT__GRACE", "3s")
        .sets(NEEDED)
        .sets(&["kafka.group=flag"]);
    let config = folder.config();
    assert_eq!((config.kafka.group.as_str(), config.kafka.instance.as_deref()), ("flag", Some("a")));
    assert_eq!((config.input.grace_ms, config.input.lateness_max_ms), (3000, 86_400_000));
    assert_eq!(config.workers, 1, "a key with nothing behind it sets nothing");
}

#[test]
fn lists_are_written_as_lists_or_with_commas() {
    for topics in ["[a, b]", "a,b", "[a, \"b\"]"] {
        let config = Folder::new("").sets(&["kafka.brokers=x:1", &format!("input.topics={topics}")]).config();
        assert_eq!(config.input.topics, ["a", "b"], "{topics}");
    }
    let config = Folder::new("kafka: {brokers: [x:1, y:2]}\ninput: {topics: a}").config();
    assert_eq!(config.kafka.brokers, "x:1,y:2");
}

#[test]
fn policies_are_beside_the_file_that_names_them() {
    let folder = Folder::new("policies: sub/p.yaml").sets(NEEDED);
    fs::create_dir(folder.path("sub")).expect("a folder");
    folder.write("sub/p.yaml", "policies: [{name: sub, objectives: {}}]");
    let config = folder.config();
    assert_eq!(config.policies.policies.policies[0].name, "sub");
    assert_eq!(config.policies.path, folder.path("sub/p.yaml"));
}

#[test]
fn problems_of_the_policies_come_after_those_of_the_settings() {
    let folder = Folder::new("workers: many").sets(NEEDED);
    folder.write("policies.yaml", "policies: []");
    assert_eq!(
        folder.problems(),
        [
            "overdue.yaml:1:10: workers: must be a whole number from 0 to 1024",
            "policies.yaml:1:11: policies: must hold at least one policy",
        ]
    );
}

#[test]
fn what_is_needed_is_asked_for() {
    let expected = [
        "settings: kafka.brokers: must name a broker such as `localhost:9092`",
        "settings: input.topics: must name a topic such as `lead-events`",
    ];
    assert_eq!(Folder::new("").problems(), expected);
    let expected = [
        "overdue.yaml:1:18: kafka.brokers: must not be empty",
        "overdue.yaml:2:17: input.topics: must name a topic such as `lead-events`",
    ];
    assert_eq!(Folder::new("kafka: {brokers: ''}\ninput: {topics: []}").problems(), expected);
}

#[test]
fn every_problem_is_listed() {
    refused(
        "\
kafka: {grup: x, create_topics: maybe}
input:
  grace: -1s
  lateness_max: 0s
  facts_max: 0
  keyed_by: lead
  partitioner: murmur3
commit_interval: 6s
workers: -1
http: {listen: localhost}
inputs: {}
",
        &[
            "overdue.yaml:1:9: kafka.grup: unknown field, did you mean `group`?",
            "overdue.yaml:1:33: kafka.create_topics: must be `true` or `false`",
            "overdue.yaml:3:10: input.grace: must be a duration such as `100ms`, `5s` or `7d`",
            "overdue.yaml:4:17: input.lateness_max: must be longer than zero",
            "overdue.yaml:5:14: input.facts_max: must be a whole number from 1 to 10000000",
            "overdue.yaml:6:13: input.keyed_by: `lead` is not one of `lead_id`, `any`",
            "overdue.yaml:7:16: input.partitioner: `murmur3` is not one of `auto`, `murmur2`, `crc32`, `other`",
            "overdue.yaml:8:18: commit_interval: must be from 1ms to 5s",
            "overdue.yaml:9:10: workers: must be a whole number from 0 to 1024",
            "overdue.yaml:10:16: http.listen: must be an address and port such as `127.0.0.1:9464` or `[::]:9464`",
            "overdue.yaml:11:1: inputs: unknown field, did you mean `input`?",
        ],
    );
}

#[test]
fn variables_and_flags_are_named_in_their_problems() {
    let folder = Folder::new("")
        .env("OVERDUE__KAFKA__BROKER", "x")
        .env("OVERDUE__INPUT__GRACE", "soon")
        .sets(NEEDED)
        .sets(&["wrkers=1", "commit_interval=1m", "nothing"]);
    let expected = [
        "OVERDUE__INPUT__GRACE: input.grace: must be a duration such as `100ms`, `5s` or `7d`",
        "OVERDUE__KAFKA__BROKER: kafka.broker: unknown field, did you mean `brokers`?",
        "--set wrkers: wrkers: unknown field, did you mean `workers`?",
        "--set commit_interval: commit_interval: must be from 1ms to 5s",
        "--set: must be KEY=VALUE, such as `kafka.group=overdue`",
    ];
    assert_eq!(folder.problems(), expected);
}

#[test]
fn what_comes_later_is_refused_by_name() {
    refused(
        "input: {speak_from: 2026-01-01T00:00:00, clock_skew_max: 2h}\noutput: {warnings: other, clocks: overdue.clocks}",
        &[
            "overdue.yaml:1:21: input.speak_from: must be an instant such as `2026-12-31T09:00:00+01:00`, or a date such as `2026-12-31`, which is 00:00 UTC",
            "overdue.yaml:1:58: input.clock_skew_max: must be from 1ms to 1h",
            "overdue.yaml:2:27: output.clocks: `clocks` is not supported by this version",
        ],
    );
}

#[test]
fn speaking_may_begin_at_an_instant() {
    let speak_from = |written: &str| {
        let sets: Vec<_> = NEEDED.iter().copied().chain([written]).collect();
        Folder::new("").sets(&sets).config().input.speak_from.map(|instant| instant.to_string())
    };
    assert_eq!(speak_from("input.speak_from="), None);
    assert_eq!(speak_from("input.speak_from=2026-01-01"), Some("2026-01-01T00:00:00.000Z".to_string()));
    assert_eq!(
        speak_from("input.speak_from=2026-01-01T09:00:00+01:00"),
        Some("2026-01-01T08:00:00.000Z".to_string())
    );
}

#[test]
fn warnings_have_a_topic_of_their_own() {
    assert_eq!(Folder::new("").sets(NEEDED).config().output.warnings, "overdue.warnings");
    refused(
        "output: {warnings: overdue.breaches}",
        &["overdue.yaml:1:20: output.warnings: `overdue.breaches` is in use for something else already"],
    );
}

#[test]
fn topics_have_one_purpose_each() {
    refused(
        "output: {breaches: in, outcomes: 'a b', dead_letter: overdue.changelog}",
        &[
            "settings: changelog: `overdue.changelog` is in use for something else already",
            "overdue.yaml:1:20: output.breaches: `in` is in use for something else already",
            "overdue.yaml:1:34: output.outcomes: `a b` is not a name that Kafka allows for a topic",
        ],
    );
}

#[test]
fn properties_pass_through_and_secrets_come_from_files() {
    let folder =
        Folder::new("kafka: {properties: {sasl.mechanism: PLAIN, sasl.password_file: secret, linger.ms: 5}}")
            .env("OVERDUE__KAFKA__PROPERTIES__SASL__USERNAME", "{not yaml")
            .sets(NEEDED)
            .sets(&["kafka.properties.ssl.ca.location=/ca.pem"]);
    folder.write("secret", "hunter2\r\n");
    let config = folder.config();
    let properties: Vec<_> =
        config.kafka.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [
        ("linger.ms", "5"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.password", "hunter2"),
        ("sasl.username", "{not yaml"),
        ("ssl.ca.location", "/ca.pem"),
    ];
    assert_eq!(properties, expected);
    let shown = format!("{config:?}");
    assert!(shown.contains("sasl.password") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_secret_is_never_shown() {
    let shown = |settings: &str| Folder::new(settings).sets(NEEDED).load().expect_err("problems").to_string();
    for settings in [
        "kafka:\n  properties: {group.id: x, sasl.password: hunter2}",
        "kafka:\n  properties:\n    ssl.x: [hunter2]\n",
        "kafka:\n  properties:\n    a.b: \"hunter2\n",
        "kafka:\n  sasl.password: hunter2\n",
        "password: {hunter2: [\n",
        "kafka:\n  properties:\n    sasl.password: hunter2\n    sasl.password_file: none\n",
    ] {
        assert!(!shown(settings).contains("hunter2"), "{}", shown(settings));
    }
    let folder =
        Folder::new("").sets(NEEDED).sets(&["kafka.properties.group.id=hunter2", "kafka.properties=hunter2"]);
    assert!(!folder.load().expect_err("problems").to_string().contains("hunter2"));
}

#[test]
fn properties_that_carry_the_guarantees_are_not_free() {
    for name in [
        "bootstrap.servers",
        "group.id",
        "group.instance.id",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "isolation.level",
        "transactional.id",
        "partition.assignment.strategy",
    ] {
        let found = Folder::new(&format!("kafka: {{properties: {{{name}: x}}}}")).sets(NEEDED).problems();
        let place = format!("overdue.yaml:1:22: kafka.properties.{name}: is not free to set: ");
        assert!(found.len() == 1 && found[0].starts_with(&place), "{found:?}");
    }
}

#[test]
fn files_that_cannot_be_read_are_problems() {
    let mut folder = Folder::new("").sets(NEEDED);
    folder.sources.files.push(folder.path("missing.yaml"));
    let found = folder.problems();
    assert!(found[0].starts_with("missing.yaml: can't be read: no such file"), "{found:?}");
    let folder = Folder::new("").sets(NEEDED);
    fs::write(folder.path("policies.yaml"), b"a: b\nc: \xff").expect("a file is written");
    assert_eq!(folder.problems(), ["policies.yaml: line 2 is not UTF-8"]);
}

proptest::proptest! {
    #[test]
    fn no_settings_make_it_panic(text in "\\PC*", set in "[ -~]{0,40}") {
        let folder = Folder::new(&text).sets(&[set.as_str()]);
        let _ = folder.load();
    }
}
