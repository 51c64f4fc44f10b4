//! Rejected records as they go to the dead-letter topic: their own bytes, key and headers, and why. Section 7.

use sha2::{Digest, Sha256};

use super::decode::Reason;
use super::record::Record;

/// Key, value and headers of a dead letter are cut to this many bytes together, well below what a topic takes
/// by default, which is 1,048,588.
const BYTES_MAX: usize = 1_000_000;

/// A record for the dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The record's key, cut where it is too long.
    pub key: Option<Vec<u8>>,
    /// The record's value, cut where it is too long.
    pub value: Option<Vec<u8>>,
    /// The record's headers, then those that say why.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl DeadLetter {
    /// Wraps a record.
    pub fn new(record: &Record<'_>, topic: &str, reason: Reason, detail: &str) -> DeadLetter {
        let mut headers: Vec<_> = record
            .headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec)))
            .collect();
        let mut budget = BYTES_MAX;
        let bytes: usize =
            headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum();
        if BYTES_MAX / 2 < bytes {
            add(&mut headers, "headers_dropped_bytes", &bytes.to_string());
            headers.drain(..headers.len() - 1);
        } else {
            budget -= bytes;
        }
        let key = record.key.map(|key| cut(key, budget / 2, "key_", &mut headers));
        budget -= key.as_ref().map_or(0, Vec::len);
        let value = record.value.map(|value| cut(value, budget, "", &mut headers));
        for (name, value) in [
            ("reason", reason.as_str()),
            ("detail", detail),
            ("topic", topic),
            ("partition", &record.partition.to_string()),
            ("offset", &record.offset.to_string()),
        ] {
            add(&mut headers, name, value);
        }
        if let Some(timestamp) = record.timestamp {
            add(&mut headers, "timestamp", &timestamp.to_string());
        }
        DeadLetter { key, value, headers }
    }

    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers: usize = self.headers.iter().map(|(name, value)| 64 + name.len() + length(value)).sum();
        size_of::<DeadLetter>() + length(&self.key) + length(&self.value) + headers
    }

    /// The headers as they are sent.
    pub fn headers(&self) -> Vec<(&str, Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect()
    }
}

/// The bytes, or as many as there is room for, with the length and SHA-256 of all of them.
fn cut(bytes: &[u8], room: usize, prefix: &str, headers: &mut Vec<(String, Option<Vec<u8>>)>) -> Vec<u8> {
    if bytes.len() <= room {
        return bytes.to_vec();
    }
    let digest = Sha256::digest(bytes);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    add(headers, &format!("{prefix}length"), &bytes.len().to_string());
    add(headers, &format!("{prefix}sha256"), &hex);
    bytes[..room].to_vec()
}

fn add(headers: &mut Vec<(String, Option<Vec<u8>>)>, name: &str, value: &str) {
    headers.push((name.to_owned(), Some(value.as_bytes().to_vec())));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(key: &'a [u8], value: &'a [u8], headers: &'a [(&'a str, Option<&'a [u8]>)]) -> Record<'a> {
        Record {
            topic: 0,
            partition: 3,
            offset: 9,
            timestamp: None,
            key: Some(key),
            value: Some(value),
            headers,
        }
    }

    fn header<'a>(letter: &'a DeadLetter, name: &str) -> Option<&'a [u8]> {
        letter.headers().into_iter().rfind(|(found, _)| *found == name).and_then(|(_, value)| value)
    }

    #[test]
    fn a_record_keeps_its_bytes_and_gets_a_reason() {
        let letter = DeadLetter::new(
            &record(b"k", b"\xff\x00", &[("own", Some(b"1"))]),
            "leads",
            Reason::NotJson,
            "expected value",
        );
        assert_eq!(
            (letter.key.as_deref(), letter.value.as_deref()),
            (Some(&b"k"[..]), Some(&b"\xff\x00"[..]))
        );
        for (name, value) in
            [("own", "1"), ("reason", "not_json"), ("topic", "leads"), ("partition", "3"), ("offset", "9")]
        {
            assert_eq!(header(&letter, name), Some(value.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_record_too_large_is_cut_and_can_be_told_by_its_digest() {
        let value = vec![b'x'; BYTES_MAX + 1];
        let letter = DeadLetter::new(&record(b"k", &value, &[]), "leads", Reason::Oversize, "");
        assert_eq!(letter.value.as_ref().map(Vec::len), Some(BYTES_MAX - 1));
        assert_eq!(header(&letter, "length"), Some(&b"1000001"[..]));
        assert_eq!(header(&letter, "sha256").map(<[u8]>::len), Some(64));
    }

    #[test]
    fn headers_and_keys_that_leave_no_room_are_cut_too() {
        let big = vec![b'x'; BYTES_MAX];
        let letter =
            DeadLetter::new(&record(&big, &big, &[("own", Some(&big))]), "leads", Reason::Oversize, "");
        let total: usize =
            letter.headers().iter().map(|(n, v)| n.len() + v.map_or(0, <[u8]>::len)).sum::<usize>()
                + letter.key.as_ref().map_or(0, Vec::len)
                + letter.value.as_ref().map_or(0, Vec::len);
        assert!(total < BYTES_MAX + 1_000, "{total}");
        assert_eq!(header(&letter, "key_length"), Some(&b"1000000"[..]));
    }
}
