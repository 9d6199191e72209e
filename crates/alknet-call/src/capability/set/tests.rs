use super::*;
use crate::CredentialField;

const CANARY: &str = "canary-8f1d";

fn fields(all: &[(&str, &str)]) -> BTreeMap<String, Secret> {
    all.iter().map(|(name, value)| ((*name).to_owned(), Secret::from((*value).to_owned()))).collect()
}

/// Every member of a kind, filled with the canary where it fits.
fn full(kind: CredentialKind) -> BTreeMap<String, Secret> {
    match kind {
        CredentialKind::Custom => fields(&[("a.b", CANARY), ("c", CANARY)]),
        CredentialKind::Oidc => {
            let mut all: BTreeMap<_, _> = of(kind, |_| true);
            all.insert("expires_at".to_owned(), Secret::from("1800000000".to_owned()));
            all
        }
        _ => of(kind, |_| true),
    }
}

fn of(kind: CredentialKind, which: impl Fn(&CredentialField) -> bool) -> BTreeMap<String, Secret> {
    let all = kind.fields().iter().filter(|field| which(field));
    all.map(|field| (field.name.to_owned(), Secret::from(CANARY.to_owned()))).collect()
}

#[test]
fn every_kind_round_trips_whole_and_in_its_least_form() {
    // STORE-60
    for kind in CredentialKind::ALL {
        let set = CredentialSet::from_fields(kind, full(kind)).unwrap();
        let bytes = set.seal_bytes();
        let again = CredentialSet::parse(&bytes).unwrap();
        assert_eq!((again.kind(), kind.as_str().parse()), (kind, Ok(kind)));
        assert_eq!(again.seal_bytes(), bytes, "{kind} loses something");
        let text = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(text.matches("\":").count() - 2, full(kind).len(), "{kind}: {text}");
    }
    for kind in [CredentialKind::ApiKey, CredentialKind::Basic, CredentialKind::Bearer, CredentialKind::S3] {
        let least = CredentialSet::from_fields(kind, of(kind, |field| field.required)).unwrap();
        assert_eq!(CredentialSet::parse(&least.seal_bytes()).unwrap().seal_bytes(), least.seal_bytes());
    }
}

#[test]
fn a_member_that_is_missing_is_named() {
    for kind in CredentialKind::ALL {
        for missing in kind.fields().iter().filter(|field| field.required) {
            let error =
                CredentialSet::from_fields(kind, of(kind, |field| field.required && field != missing)).unwrap_err();
            assert_eq!(error, InvalidCredentialSet::Missing(kind, missing.name));
        }
    }
    let neither = fields(&[("token_endpoint", "https://a.example/t"), ("client_id", "me")]);
    let error = CredentialSet::from_fields(CredentialKind::Oidc, neither).unwrap_err();
    assert_eq!(error, InvalidCredentialSet::Missing(CredentialKind::Oidc, "refresh_token"));
}

#[test]
fn what_is_refused_is_named_and_never_shown() {
    // STORE-60
    let long = CANARY.repeat(MAX_SECRET_BYTES / CANARY.len() + 1);
    let many: Vec<(String, &str)> = (0..=MAX_CREDENTIAL_FIELDS).map(|n| (format!("m{n}"), CANARY)).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let line = format!("{CANARY}\r\nHost: elsewhere");
    let cases: [(CredentialKind, &[(&str, &str)]); 8] = [
        (CredentialKind::Bearer, &[("token", CANARY), ("scope", CANARY)]),
        (CredentialKind::Bearer, &[("token", "")]),
        (CredentialKind::Bearer, &[("token", &line)]),
        (CredentialKind::Bearer, &[("token", &long)]),
        (CredentialKind::Custom, &[]),
        (CredentialKind::Custom, &[("a b", CANARY)]),
        (CredentialKind::Custom, &many),
        (
            CredentialKind::Oidc,
            &[("token_endpoint", "x"), ("client_id", "y"), ("access_token", CANARY), ("expires_at", CANARY)],
        ),
    ];
    for (kind, case) in cases {
        let error = CredentialSet::from_fields(kind, fields(case)).unwrap_err();
        assert!(!error.to_string().contains(CANARY) && !format!("{error:?}").contains(CANARY), "{error}");
    }
    for bad in ["", "{}", "[]", r#"{"kind":"bearer"}"#, r#"{"kind":"bearer","fields":{"token":1}}"#] {
        assert_eq!(CredentialSet::parse(bad.as_bytes()).unwrap_err(), InvalidCredentialSet::Malformed, "{bad}");
    }
    let unknown = CredentialSet::parse(br#"{"kind":"x509","fields":{}}"#).unwrap_err();
    assert_eq!(unknown, InvalidCredentialSet::UnknownKind("x509".to_owned()));
}

#[test]
fn debug_shows_the_kind_alone() {
    // STORE-60
    for kind in CredentialKind::ALL {
        let set = CredentialSet::from_fields(kind, full(kind)).unwrap();
        assert_eq!(format!("{set:?}"), format!("CredentialSet({kind})"));
        if let CredentialSet::Oidc(tokens) = &set {
            assert_eq!(format!("{tokens:#?}"), "OidcTokens");
        }
    }
    assert_eq!(format!("{:?}", Secret::from(CANARY.to_owned())), "Secret");
}
