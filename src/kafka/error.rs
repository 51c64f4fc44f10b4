//! What the client library's errors mean to a worker.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::trouble::plain;
use crate::runtime::port::Error;

/// What went wrong, without the values of properties.
pub fn text(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, _, key, _) => {
            format!("property `{key}` is unknown to librdkafka or has a value it does not take")
        }
        KafkaError::Transaction(error) => plain(&error.string()),
        KafkaError::ClientCreation(reason) => reason.clone(),
        other => other.rdkafka_error_code().map_or_else(|| other.to_string(), |code| code.to_string()),
    }
}

/// An error of a question: waiting may mend it, unless the answer was a refusal.
pub fn of_question(what: &str, error: &KafkaError) -> Error {
    let text = format!("{what}: {}", text(error));
    match error.rdkafka_error_code() {
        Some(code) if refuses(code) => Error::Refused(text),
        _ => Error::NotYet(text),
    }
}

/// An error of a client's creation: nothing but another configuration mends it.
pub fn of_creation(what: &str, error: &KafkaError) -> Error {
    Error::Refused(format!("{what}: {}", text(error)))
}

/// An error of a transaction.
pub fn of_transaction(what: &str, error: &KafkaError) -> Error {
    let text = format!("{what}: {}", text(error));
    match error.rdkafka_error_code() {
        Some(code) if fences(code) => Error::Fenced(text),
        _ => Error::Transaction(text),
    }
}

/// The broker knows who asks and says no.
pub fn refuses(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::InvalidTopic
            | Code::InvalidGroupId
    )
}

/// Another producer has the transactional id, or the coordinator ended the transaction by itself, which
/// looks the same (`_FENCED`, fatal, on Apache Kafka 4.1.1).
pub fn fences(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}

/// No broker answers; the library goes on trying by itself.
pub fn is_outage(code: Code) -> bool {
    matches!(
        code,
        Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::Authentication
            | Code::SSL
    )
}
