//! A Kafka behind passwords, certificates and access rules, each of which can be taken away and given back.
//!
//! The plain listener stays open for the tests themselves, whose anonymous user may do everything. The user
//! of the two guarded listeners is `overdue` on both.

use std::ffi::CString;
use std::fs;
use std::path::PathBuf;
use std::ptr;
use std::sync::OnceLock;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType,
    date_time_ymd,
};
use rdkafka::admin::AdminClient;
use rdkafka::bindings as rd;
use rdkafka::client::DefaultClientContext;
use tempfile::TempDir;

use super::Kafka;
use super::kafka::free_ports;

/// The user of both guarded listeners.
const USER: &str = "overdue";
/// The password of that user, of which no output may hold a part.
pub const PASSWORD: &str = "hunter2-correct-horse";
const SALT: &[u8] = b"salt of the tests";
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A broker with a listener for passwords (SASL_SSL, SCRAM-SHA-512) and one for client certificates (SSL).
pub struct Guarded {
    pub kafka: Kafka,
    pub scram: String,
    pub mutual: String,
    pub certificates: Certificates,
}

/// What is denied, and of which resource.
#[derive(Clone, Copy)]
pub enum Denied<'a> {
    ReadTopic(&'a str),
    WriteTopic(&'a str),
    CreateTopic(&'a str),
    ReadGroup(&'a str),
    TransactionalIds,
}

impl Guarded {
    /// Returns the broker that tests share which take nothing away from others.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Guarded>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// Starts one of its own; none where another's Kafka is given, whose rules are its own.
    pub fn start() -> Option<Self> {
        if std::env::var("OVERDUE_TEST_KAFKA").is_ok_and(|given| !given.is_empty()) {
            return None;
        }
        let certificates = Certificates::new();
        let ports = free_ports(2);
        let [scram, mutual] = [ports[0], ports[1]].map(|port| format!("127.0.0.1:{port}"));
        let kafka = Kafka::start_with(1, &properties(&scram, &mutual, &certificates))?;
        let this = Self { kafka, scram, mutual, certificates };
        this.password(PASSWORD);
        this.allow_everything();
        Some(this)
    }

    /// The settings of a service that comes with its password; the password itself is in a file.
    pub fn by_password(&self) -> Vec<(&'static str, String)> {
        vec![
            ("kafka.brokers", self.scram.clone()),
            ("kafka.properties.security.protocol", "SASL_SSL".into()),
            ("kafka.properties.ssl.ca.location", self.certificates.path("ca.pem")),
            ("kafka.properties.sasl.mechanism", "SCRAM-SHA-512".into()),
            ("kafka.properties.sasl.username", USER.into()),
            ("kafka.properties.sasl.password_file", self.certificates.secret("password", PASSWORD)),
        ]
    }

    /// The settings of a service that comes with a certificate.
    pub fn by_certificate(&self) -> Vec<(&'static str, String)> {
        vec![
            ("kafka.brokers", self.mutual.clone()),
            ("kafka.properties.security.protocol", "SSL".into()),
            ("kafka.properties.ssl.ca.location", self.certificates.path("ca.pem")),
            ("kafka.properties.ssl.certificate.location", self.certificates.path("client.pem")),
            ("kafka.properties.ssl.key.location", self.certificates.path("client.pem")),
        ]
    }

    /// Gives the user another password on the broker.
    pub fn password(&self, password: &str) {
        let (user, password) = (c(USER), password.as_bytes());
        self.ask(|client, queue| {
            // SAFETY: texts and salt outlive the call, which copies them; the alteration is destroyed after the
            // request has been made.
            unsafe {
                let mut one = rd::rd_kafka_UserScramCredentialUpsertion_new(
                    user.as_ptr(),
                    rd::rd_kafka_ScramMechanism_t::RD_KAFKA_SCRAM_MECHANISM_SHA_512,
                    4096,
                    password.as_ptr(),
                    password.len(),
                    SALT.as_ptr(),
                    SALT.len(),
                );
                rd::rd_kafka_AlterUserScramCredentials(client, &mut one, 1, ptr::null(), queue);
                rd::rd_kafka_UserScramCredentialAlteration_destroy(one);
            }
        });
    }

    /// Forbids the user something.
    pub fn deny(&self, denied: Denied<'_>) {
        let rule = Rule::of(denied);
        self.add(&rule, rd::rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_DENY);
    }

    /// Takes a prohibition back.
    pub fn allow(&self, denied: Denied<'_>) {
        let rule = Rule::of(denied);
        let (name, user, host) = (c(&rule.name), c(&format!("User:{USER}")), c("*"));
        self.ask(|client, queue| {
            let mut why = [0; 256];
            // SAFETY: the texts outlive the call, which copies them; the filter is destroyed after the request.
            unsafe {
                let mut filter = rd::rd_kafka_AclBindingFilter_new(
                    rule.resource,
                    name.as_ptr(),
                    rd::rd_kafka_ResourcePatternType_t::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
                    user.as_ptr(),
                    host.as_ptr(),
                    rule.operation,
                    rd::rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_DENY,
                    why.as_mut_ptr(),
                    why.len(),
                );
                rd::rd_kafka_DeleteAcls(client, &mut filter, 1, ptr::null(), queue);
                rd::rd_kafka_AclBinding_destroy(filter);
            }
        });
    }

    fn allow_everything(&self) {
        use rd::rd_kafka_ResourceType_t::*;
        for resource in [RD_KAFKA_RESOURCE_TOPIC, RD_KAFKA_RESOURCE_GROUP, RD_KAFKA_RESOURCE_TRANSACTIONAL_ID]
        {
            let operation = rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_ALL;
            let rule = Rule { resource, name: "*".into(), operation };
            self.add(&rule, rd::rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW);
        }
    }

    fn add(&self, rule: &Rule, permission: rd::rd_kafka_AclPermissionType_t) {
        let (name, user, host) = (c(&rule.name), c(&format!("User:{USER}")), c("*"));
        self.ask(|client, queue| {
            let mut why = [0; 256];
            // SAFETY: the texts outlive the call, which copies them; the rule is destroyed after the request.
            unsafe {
                let mut one = rd::rd_kafka_AclBinding_new(
                    rule.resource,
                    name.as_ptr(),
                    rd::rd_kafka_ResourcePatternType_t::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
                    user.as_ptr(),
                    host.as_ptr(),
                    rule.operation,
                    permission,
                    why.as_mut_ptr(),
                    why.len(),
                );
                rd::rd_kafka_CreateAcls(client, &mut one, 1, ptr::null(), queue);
                rd::rd_kafka_AclBinding_destroy(one);
            }
        });
    }

    /// Asks the controller something, and waits for its answer.
    fn ask(&self, request: impl Fn(*mut rd::rd_kafka_t, *mut rd::rd_kafka_queue_t)) {
        let admin: AdminClient<DefaultClientContext> = self.kafka.client().create().expect("an admin client");
        let client = admin.inner().native_ptr();
        // SAFETY: the client outlives queue and event, each of which is destroyed once; the error's text belongs
        // to the event.
        unsafe {
            let queue = rd::rd_kafka_queue_new(client);
            request(client, queue);
            let event = rd::rd_kafka_queue_poll(queue, ANSWER_WITHIN.as_millis() as i32);
            assert!(!event.is_null(), "the controller did not answer");
            let error = rd::rd_kafka_event_error(event);
            let ok = rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
            assert_eq!(error, ok, "the controller refused");
            rd::rd_kafka_event_destroy(event);
            rd::rd_kafka_queue_destroy(queue);
        }
    }
}

/// What a rule is about.
struct Rule {
    resource: rd::rd_kafka_ResourceType_t,
    name: String,
    operation: rd::rd_kafka_AclOperation_t,
}

impl Rule {
    fn of(denied: Denied<'_>) -> Self {
        use rd::rd_kafka_AclOperation_t::*;
        use rd::rd_kafka_ResourceType_t::*;
        let (resource, name, operation) = match denied {
            Denied::ReadTopic(name) => (RD_KAFKA_RESOURCE_TOPIC, name, RD_KAFKA_ACL_OPERATION_READ),
            Denied::WriteTopic(name) => (RD_KAFKA_RESOURCE_TOPIC, name, RD_KAFKA_ACL_OPERATION_WRITE),
            Denied::CreateTopic(name) => (RD_KAFKA_RESOURCE_TOPIC, name, RD_KAFKA_ACL_OPERATION_CREATE),
            Denied::ReadGroup(name) => (RD_KAFKA_RESOURCE_GROUP, name, RD_KAFKA_ACL_OPERATION_READ),
            Denied::TransactionalIds => {
                (RD_KAFKA_RESOURCE_TRANSACTIONAL_ID, "*", RD_KAFKA_ACL_OPERATION_WRITE)
            }
        };
        Self { resource, name: name.into(), operation }
    }
}

fn properties(scram: &str, mutual: &str, certificates: &Certificates) -> Vec<(&'static str, String)> {
    vec![
        ("listeners", format!("SCRAM://{scram},MUTUAL://{mutual}")),
        ("advertised.listeners", format!("SCRAM://{scram},MUTUAL://{mutual}")),
        ("listener.security.protocol.map", "SCRAM:SASL_SSL,MUTUAL:SSL".into()),
        ("listener.name.scram.sasl.enabled.mechanisms", "SCRAM-SHA-512".into()),
        (
            "listener.name.scram.scram-sha-512.sasl.jaas.config",
            "org.apache.kafka.common.security.scram.ScramLoginModule required;".into(),
        ),
        ("listener.name.mutual.ssl.client.auth", "required".into()),
        ("ssl.principal.mapping.rules", "RULE:^CN=(.*)$/$1/".into()),
        ("ssl.keystore.type", "PEM".into()),
        ("ssl.keystore.location", certificates.path("server.pem")),
        ("ssl.truststore.type", "PEM".into()),
        ("ssl.truststore.location", certificates.path("ca.pem")),
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer".into()),
        ("super.users", "User:ANONYMOUS".into()),
    ]
}

fn c(text: &str) -> CString {
    CString::new(text).expect("a text without a null")
}

/// An authority, and what it has signed, as files.
pub struct Certificates {
    folder: TempDir,
    authority: Issuer<'static, KeyPair>,
}

/// What is special about a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    Nothing,
    Expired,
    OtherHost,
    UnknownAuthority,
}

impl Certificates {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (authority, text) = authority("overdue tests");
        fs::write(folder.path().join("ca.pem"), text).expect("a certificate");
        let this = Self { folder, authority };
        this.of_server(Flaw::Nothing);
        this.of_client(Flaw::Nothing);
        this
    }

    /// Gives the broker another certificate, which it takes when it starts.
    pub fn of_server(&self, flaw: Flaw) {
        self.write("server.pem", "kafka", flaw);
    }

    /// Gives the service another certificate, which it takes when it starts.
    pub fn of_client(&self, flaw: Flaw) {
        self.write("client.pem", USER, flaw);
    }

    /// Where a file is.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Writes a file that only its owner reads, and returns where it is.
    pub fn secret(&self, name: &str, text: &str) -> String {
        fs::write(self.folder.path().join(name), format!("{text}\n")).expect("a secret");
        self.path(name)
    }

    /// Another authority than the broker's.
    pub fn other_authority(&self) -> String {
        self.secret("other-ca.pem", &authority("somebody else").1)
    }

    fn write(&self, file: &str, name: &str, flaw: Flaw) {
        let key = KeyPair::generate().expect("a key");
        let mut params = named(name);
        params.subject_alt_names = vec![match flaw {
            Flaw::OtherHost => SanType::DnsName("kafka.elsewhere".try_into().expect("a name")),
            _ => SanType::IpAddress([127, 0, 0, 1].into()),
        }];
        if flaw == Flaw::Expired {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let other = authority("somebody else").0;
        let issuer = if flaw == Flaw::UnknownAuthority { &other } else { &self.authority };
        let certificate = params.signed_by(&key, issuer).expect("a certificate");
        let path: PathBuf = self.folder.path().join(file);
        fs::write(path, key.serialize_pem() + &certificate.pem()).expect("a certificate");
    }
}

fn authority(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let text = params.self_signed(&key).expect("a certificate").pem();
    (Issuer::new(params, key), text)
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
