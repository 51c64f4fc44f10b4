//! What must not be shown, and how it is kept out of what is.

use std::borrow::Cow;
use std::fmt;

/// What stands in the place of a secret.
pub(super) const STARS: &str = "***";

/// Shorter texts are not looked for in what is shown: they are in every other line by chance.
const LOOKED_FOR_BYTES_MIN: usize = 4;

/// Words in the name of a property whose value is a secret.
const WORDS: &[&str] =
    &["password", "passphrase", "secret", "token", "credential", "jaas", "assertion", "key", "pem"];

/// Properties whose values hold secrets among other things.
const MIXED: &[&str] = &["sasl.oauthbearer.config", "sasl.kerberos.kinit.cmd", "ssl.certificate"];

/// A text that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret of this text.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STARS)
    }
}

/// Whether a property of librdkafka is, or may hold, a secret; a path to one is none.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    let is_place = [".location", "_file", ".file"].iter().any(|end| name.ends_with(end));
    !is_place && (MIXED.contains(&name.as_str()) || WORDS.iter().any(|word| name.contains(word)))
}

/// The text with stars where a secret stands in it, as it is or as JSON writes it.
pub fn redacted<'t>(text: &'t str, secrets: &[impl AsRef<str>]) -> Cow<'t, str> {
    let mut clean = Cow::Borrowed(text);
    for secret in secrets.iter().map(AsRef::as_ref).filter(|secret| LOOKED_FOR_BYTES_MIN <= secret.len()) {
        let json = serde_json::Value::from(secret).to_string();
        for form in [secret, &json[1..json.len() - 1], &secret.escape_debug().to_string()] {
            if clean.contains(form) {
                clean = Cow::Owned(clean.replace(form, STARS));
            }
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::{Secret, is_secret, redacted};

    #[test]
    fn properties_with_secrets_are_told_from_those_without() {
        for name in [
            "sasl.password",
            "ssl.key.password",
            "ssl.key.pem",
            "SASL.Password",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.config",
            "sasl.jaas.config",
            "ssl.keystore.password",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "sasl.username",
            "sasl.mechanism",
            "ssl.key.location",
            "sasl.password_file",
            "linger.ms",
            "ssl.ca.location",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn a_secret_is_struck_out_however_it_is_written() {
        let secrets = ["hunter\"2\nx", "abc"];
        assert_eq!(redacted("before hunter\"2\nx after", &secrets), "before *** after");
        assert_eq!(redacted(r#"{"a":"hunter\"2\nx"}"#, &secrets), r#"{"a":"***"}"#);
        assert_eq!(
            redacted("abc is too short to be looked for", &secrets),
            "abc is too short to be looked for"
        );
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "***");
    }
}
