//! One spelling for one resource: the canonical URL, which names content that has no digest. Pure.
//!
//! Lower-case scheme and host, default port, user and fragment dropped, and parameters that only prove who asks
//! dropped by rule, so that two hosts with two presigned URLs for one object find each other.

use std::borrow::Cow;

use url::Url;

/// Parameters whose name starts so (case ignored) sign a request: AWS and its many copies, Google.
const SIGNATURE_PREFIXES: [&str; 2] = ["x-amz-", "x-goog-"];

/// Object stores whose own prefix is also used for parameters with meaning (`x-oss-process`): only these endings sign.
const STORE_PREFIXES: [&str; 4] = ["x-oss-", "x-obs-", "x-cos-", "x-tos-"];
const STORE_ENDINGS: [&str; 9] = [
    "additional-headers",
    "algorithm",
    "credential",
    "date",
    "expires",
    "security-token",
    "signature",
    "signature-version",
    "signedheaders",
];

/// OSS, OBS, CloudFront and the old forms of AWS and Google: dropped together, and only when a signature or OSS's key
/// is there, because a page may well have a meaningful `Expires` or `Policy`.
const SIGNED_TOGETHER: [&str; 9] = [
    "accesskeyid",
    "awsaccesskeyid",
    "expires",
    "googleaccessid",
    "key-pair-id",
    "ossaccesskeyid",
    "policy",
    "securitytoken",
    "signature",
];

/// Azure's shared access signatures: dropped together, when both `sig` and `sv` are there.
const AZURE_PARAMETERS: [&str; 22] = [
    "saoid", "scid", "sdd", "se", "ses", "si", "sig", "sip", "ske", "skoid", "sks", "skt", "sktid",
    "skv", "sp", "spr", "sr", "srt", "ss", "st", "suoid", "sv",
];

/// COS signs with exactly these.
const COS_PARAMETERS: [&str; 7] = [
    "q-sign-algorithm",
    "q-ak",
    "q-sign-time",
    "q-key-time",
    "q-header-list",
    "q-url-param-list",
    "q-signature",
];

/// Says which resource a mirror stands for, not which resource is asked.
const MIRROR_PARAMETER: &str = "ns";

/// The canonical form of `url`. `dropped` names further parameters to drop (case ignored). Applying it twice changes
/// nothing more.
pub fn canonical_url(url: &Url, dropped: &[String]) -> String {
    let mut canonical = url.clone();
    let _no_user = canonical.set_username("");
    let _no_password = canonical.set_password(None);
    canonical.set_fragment(None);
    let kept = url.query().map(|query| {
        let signing = Signing::of(query);
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .filter(|pair| {
                let name = name_of(pair);
                !signing.has(&name)
                    && name != MIRROR_PARAMETER
                    && !dropped.iter().any(|one| one.eq_ignore_ascii_case(&name))
            })
            .collect::<Vec<_>>()
            .join("&")
    });
    canonical.set_query(kept.as_deref().filter(|query| !query.is_empty()));
    canonical.to_string()
}

/// Whether the URL itself proves who asks: a user, or a signature among its parameters.
pub(crate) fn carries_credentials(url: &Url) -> bool {
    let is_signed = url.query().is_some_and(|query| {
        let signing = Signing::of(query);
        query.split('&').any(|pair| signing.has(&name_of(pair)))
    });
    is_signed || !url.username().is_empty() || url.password().is_some()
}

fn name_of(pair: &str) -> String {
    let raw = pair.split_once('=').map_or(pair, |(name, _)| name);
    url::form_urlencoded::parse(raw.as_bytes())
        .next()
        .map_or(Cow::Borrowed(""), |(name, _)| name)
        .to_ascii_lowercase()
}

/// Which families of signatures a query has.
struct Signing {
    is_together: bool,
    is_azure: bool,
}

impl Signing {
    fn of(query: &str) -> Self {
        let has = |wanted: &str| query.split('&').any(|pair| name_of(pair) == wanted);
        Self {
            is_together: has("ossaccesskeyid") || has("signature"),
            is_azure: has("sig") && has("sv"),
        }
    }

    /// Whether the parameter `name` is part of a signature.
    fn has(&self, name: &str) -> bool {
        let ends_as_signature = |prefix: &str| {
            name.strip_prefix(prefix)
                .is_some_and(|ending| STORE_ENDINGS.contains(&ending))
        };
        SIGNATURE_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
            || STORE_PREFIXES
                .iter()
                .any(|prefix| ends_as_signature(prefix))
            || COS_PARAMETERS.contains(&name)
            || (self.is_together && SIGNED_TOGETHER.contains(&name))
            || (self.is_azure && AZURE_PARAMETERS.contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(url: &str, canonical: &str) {
        let dropped = ["Session".to_owned()];
        assert_eq!(canonical_url(&url.parse().unwrap(), &dropped), canonical);
    }

    #[test]
    fn two_spellings_of_one_resource_become_one() {
        check("HTTPS://Example.COM:443/a#x", "https://example.com/a");
        check("http://u:p@h:80/", "http://h/");
        check("https://h:8443/a?b=1&c", "https://h:8443/a?b=1&c");
        check("https://h/a?", "https://h/a");
        check("https://h/a/../b?&&x=%41", "https://h/b?x=%41");
    }

    #[test]
    fn signatures_are_dropped_and_meaning_is_kept() {
        check(
            "https://h/o?X-Amz-Date=1&versionId=7&x-amz-signature=s&X%2DAmz-Expires=2",
            "https://h/o?versionId=7",
        );
        check("https://h/o?X-Goog-Signature=1", "https://h/o");
        check(
            "https://h/o?OSSAccessKeyId=k&Expires=1&Signature=s&SecurityToken=t&v=1",
            "https://h/o?v=1",
        );
        check(
            "https://h/o?AWSAccessKeyId=k&Expires=1&Signature=s&partNumber=2",
            "https://h/o?partNumber=2",
        );
        check(
            "https://h/o?Policy=p&Key-Pair-Id=k&Signature=s",
            "https://h/o",
        );
        check(
            "https://h/o?sv=1&se=2&sr=b&sp=r&sig=canary&comp=list",
            "https://h/o?comp=list",
        );
        check(
            "https://h/o?x-oss-signature=s&x-oss-process=resize",
            "https://h/o?x-oss-process=resize",
        );
        check("https://h/o?sp=1&sig=2", "https://h/o?sp=1&sig=2");
        check("https://h/o?Expires=1", "https://h/o?Expires=1");
        check("https://h/o?q-ak=1&q-signature=2&q=3", "https://h/o?q=3");
        check("https://h/o?ns=docker.io&session=1", "https://h/o");
    }

    #[test]
    fn a_signed_url_is_known_to_carry_credentials() {
        for url in [
            "https://u@h/",
            "https://h/?X-Amz-Signature=1",
            "https://h/?Signature=1",
        ] {
            assert!(carries_credentials(&url.parse().unwrap()), "{url}");
        }
        assert!(!carries_credentials(
            &"https://h/?Expires=1&ns=a".parse().unwrap()
        ));
    }

    proptest! {
        #[test]
        fn the_canonical_form_of_a_canonical_form_is_itself(
            host in "[a-zA-Z0-9]{1,9}(\\.[a-z]{2,3})?",
            port in prop::option::of(1u16..),
            path in "(/[ -~]{0,9}){0,3}",
            query in prop::option::of("([a-zA-Z%&=;+-]|X-Amz-|x-oss-date|Signature|Expires|ns|q-ak|sig|sv|&|=|%[0-9A-F]{2}){0,9}"),
        ) {
            let port = port.map_or(String::new(), |port| format!(":{port}"));
            let query = query.map_or(String::new(), |query| format!("?{query}"));
            if let Ok(url) = format!("https://{host}{port}{path}{query}").parse::<Url>() {
                let once = canonical_url(&url, &[]);
                let twice = canonical_url(&once.parse().unwrap(), &[]);
                prop_assert_eq!(&once, &twice);
                prop_assert!(!carries_credentials(&once.parse().unwrap()));
            }
        }
    }
}
