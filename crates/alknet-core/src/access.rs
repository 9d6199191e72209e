//! What an identity may do: scopes, resource grants, rules, and the one formula that compares them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::{
    Identity,
    limits::{MAX_RESOURCE_BYTES, MAX_SCOPE_BYTES},
};

/// A right over a kind of action: `service:action`, where either segment may be `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope(String);

/// A text that is no scope.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{}` is no scope: write service:action, where either part may be *", .0.escape_debug())]
pub struct InvalidScope(String);

impl Scope {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    fn segments(&self) -> (&str, &str) {
        self.0.split_once(':').unwrap_or((&self.0, ""))
    }
    /// Whether holding this scope satisfies a demand for `demanded`.
    pub fn covers(&self, demanded: &Self) -> bool {
        let (service, action) = self.segments();
        let (wanted_service, wanted_action) = demanded.segments();
        (service == "*" || service == wanted_service) && (action == "*" || action == wanted_action)
    }
}

fn is_segment(text: &str) -> bool {
    text == "*"
        || (text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_')))
}

impl FromStr for Scope {
    type Err = InvalidScope;
    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        match text.split_once(':') {
            Some((service, action)) if text.len() <= MAX_SCOPE_BYTES && is_segment(service) && is_segment(action) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(InvalidScope(text.chars().take(MAX_SCOPE_BYTES).collect())),
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = InvalidScope;
    fn try_from(text: String) -> Result<Self, InvalidScope> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The scopes that somebody holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScopeSet(BTreeSet<Scope>);

impl ScopeSet {
    /// Whether one of them covers the demanded scope.
    pub fn allows(&self, demanded: &Scope) -> bool {
        self.0.iter().any(|held| held.covers(demanded))
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// The scopes in order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

/// One thing that actions are done to: `type:id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceId {
    kind: String,
    id: String,
}

/// A text that names no resource.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a resource is written type:id, without control characters, in at most {MAX_RESOURCE_BYTES} bytes")]
pub struct InvalidResource;

impl ResourceId {
    /// Names the thing `id` of the given type.
    pub fn new(kind: &str, id: &str) -> Result<Self, InvalidResource> {
        let printable = !id.is_empty() && !id.chars().any(char::is_control);
        if !is_segment(kind) || !printable || kind.len() + id.len() >= MAX_RESOURCE_BYTES {
            return Err(InvalidResource);
        }
        Ok(Self { kind: kind.to_owned(), id: id.to_owned() })
    }
    /// The type.
    pub fn kind(&self) -> &str {
        &self.kind
    }
    /// The id within its type.
    pub fn id(&self) -> &str {
        &self.id
    }
    /// Whether a grant on `self` reaches `wanted`: the same, everything of the type (`type:*`), or something under it (`type:id/…`).
    fn reaches(&self, wanted: &Self) -> bool {
        if self.kind != "*" && self.kind != wanted.kind {
            return false;
        }
        self.id == "*"
            || wanted.id == self.id
            || wanted.id.strip_prefix(self.id.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl FromStr for ResourceId {
    type Err = InvalidResource;
    fn from_str(text: &str) -> Result<Self, InvalidResource> {
        let (kind, id) = text.split_once(':').ok_or(InvalidResource)?;
        Self::new(kind, id)
    }
}

impl TryFrom<String> for ResourceId {
    type Error = InvalidResource;
    fn try_from(text: String) -> Result<Self, InvalidResource> {
        text.parse()
    }
}

impl From<ResourceId> for String {
    fn from(resource: ResourceId) -> Self {
        resource.to_string()
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

/// What may be done to which resources: `type:id` or `type:*` to actions, where the action `*` is every action.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceGrants(BTreeMap<ResourceId, BTreeSet<String>>);

impl ResourceGrants {
    /// Adds the right to do `action` to `resource`.
    pub fn grant(&mut self, resource: ResourceId, action: impl Into<String>) {
        self.0.entry(resource).or_default().insert(action.into());
    }
    /// Whether `action` may be done to `resource`.
    pub fn allows(&self, resource: &ResourceId, action: &str) -> bool {
        self.0
            .iter()
            .filter(|(granted, _)| granted.reaches(resource))
            .any(|(_, actions)| actions.contains(action) || actions.contains("*"))
    }
}

/// The resource that an operation touches and where in its input the id stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceDemand {
    /// Type of the resource.
    #[serde(rename = "type")]
    pub kind: String,
    /// JSON pointer (RFC 6901) to the id in the operation's input.
    pub id_pointer: String,
    /// What is done to it.
    pub action: String,
}

/// Who may call an operation. Nothing is open unless it says so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRule {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    public: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<Scope>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    any_scopes: Vec<Scope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource: Option<ResourceDemand>,
}

impl AccessRule {
    /// Open to everybody, also to the anonymous.
    pub fn public() -> Self {
        Self { public: true, ..Self::default() }
    }
    /// Open to identities that hold every one of these scopes.
    pub fn scoped(scopes: impl IntoIterator<Item = Scope>) -> Self {
        Self { scopes: scopes.into_iter().collect(), ..Self::default() }
    }
    /// Besides, at least one of these.
    pub fn any_of(mut self, scopes: impl IntoIterator<Item = Scope>) -> Self {
        self.any_scopes = scopes.into_iter().collect();
        self
    }
    /// Besides, a grant on the resource that the input names.
    pub fn on(mut self, demand: ResourceDemand) -> Self {
        self.resource = Some(demand);
        self
    }
    /// Whether everybody may.
    pub const fn is_public(&self) -> bool {
        self.public
    }
    /// The scopes that must all be held.
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }
    /// The resource it touches.
    pub const fn resource(&self) -> Option<&ResourceDemand> {
        self.resource.as_ref()
    }
    /// Whether an identity may know of the operation: the formula without the resource.
    pub fn is_visible_to(&self, identity: Option<&Identity>) -> bool {
        self.public
            || identity.is_some_and(|identity| {
                self.scopes.iter().all(|scope| identity.holds(scope))
                    && (self.any_scopes.is_empty() || self.any_scopes.iter().any(|scope| identity.holds(scope)))
                    && !(self.scopes.is_empty() && self.any_scopes.is_empty() && self.resource.is_none())
            })
    }
}

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Nobody in particular asked for something that is not public, or that does not exist.
    #[error("this needs a known identity")]
    Unauthenticated,
    /// The identity lacks the scope, so for it the thing does not exist.
    #[error("no such operation")]
    NotFound,
    /// The scope is held, the resource is not granted.
    #[error("this resource is not granted")]
    Forbidden,
}

/// The access formula: public, or all scopes, one of `any_scopes`, and a grant with the action when a resource is named.
///
/// `resource` is what the rule's pointer found in the input. A rule that names a resource fails without one.
pub fn decide(rule: &AccessRule, identity: Option<&Identity>, resource: Option<&ResourceId>) -> Result<(), Denial> {
    if rule.public {
        return Ok(());
    }
    let identity = identity.ok_or(Denial::Unauthenticated)?;
    if !rule.is_visible_to(Some(identity)) {
        return Err(Denial::NotFound);
    }
    match (&rule.resource, resource) {
        (None, _) => Ok(()),
        (Some(demand), Some(found)) if found.kind == demand.kind && identity.may(found, &demand.action) => Ok(()),
        (Some(_), _) => Err(Denial::Forbidden),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Scope {
        text.parse().unwrap()
    }

    fn identity(scopes: &[&str], grants: &[(&str, &str)]) -> Identity {
        let mut resources = ResourceGrants::default();
        for (resource, action) in grants {
            resources.grant(resource.parse().unwrap(), *action);
        }
        Identity::new("tester", scopes.iter().map(|s| scope(s)).collect(), resources)
    }

    #[test]
    fn the_access_formula() {
        // AUTH-10, AUTH-11, AUTH-12
        use Denial::{Forbidden, NotFound, Unauthenticated};
        let demand = ResourceDemand { kind: "bucket".into(), id_pointer: "/bucket".into(), action: "fs:read".into() };
        let public = AccessRule::public();
        let nothing = AccessRule::default();
        let one = AccessRule::scoped([scope("fs:read")]);
        let two = AccessRule::scoped([scope("fs:read"), scope("fs:list")]);
        let any = AccessRule::scoped([scope("fs:read")]).any_of([scope("a:x"), scope("b:y")]);
        let bucket = AccessRule::scoped([scope("fs:read")]).on(demand);
        assert!(public.is_public() && !bucket.is_public());
        assert_eq!(bucket.resource().map(|demand| demand.id_pointer.as_str()), Some("/bucket"));
        let reader = identity(&["fs:read"], &[]);
        let both = identity(&["fs:read", "fs:list"], &[]);
        let star = identity(&["fs:*"], &[]);
        let owner = identity(&["*:*"], &[("*:*", "*")]);
        let wide = identity(&["fs:read", "b:y"], &[]);
        let photos = identity(&["fs:read"], &[("bucket:photos", "fs:read")]);
        let writer = identity(&["fs:read"], &[("bucket:photos", "fs:write")]);
        let every = identity(&["fs:read"], &[("bucket:*", "fs:read")]);
        type Row<'a> = (&'a str, &'a AccessRule, Option<&'a Identity>, Option<&'a str>, Result<(), Denial>);
        let table: &[Row<'_>] = &[
            ("public, anonymous", &public, None, None, Ok(())),
            ("public, known", &public, Some(&reader), None, Ok(())),
            ("nothing said, anonymous", &nothing, None, None, Err(Unauthenticated)),
            ("nothing said, owner", &nothing, Some(&owner), None, Err(NotFound)),
            ("scope, anonymous", &one, None, None, Err(Unauthenticated)),
            ("scope held", &one, Some(&reader), None, Ok(())),
            ("scope not held", &AccessRule::scoped([scope("fs:write")]), Some(&reader), None, Err(NotFound)),
            ("one of two held", &two, Some(&reader), None, Err(NotFound)),
            ("two of two held", &two, Some(&both), None, Ok(())),
            ("star covers both", &two, Some(&star), None, Ok(())),
            ("any: none", &any, Some(&reader), None, Err(NotFound)),
            ("any: one", &any, Some(&wide), None, Ok(())),
            ("owner", &any, Some(&owner), None, Ok(())),
            ("resource, no grant", &bucket, Some(&reader), Some("bucket:photos"), Err(Forbidden)),
            ("resource, grant", &bucket, Some(&photos), Some("bucket:photos"), Ok(())),
            ("resource under grant", &bucket, Some(&photos), Some("bucket:photos/main"), Ok(())),
            ("no other prefix rule", &bucket, Some(&photos), Some("bucket:photos2"), Err(Forbidden)),
            ("other action", &bucket, Some(&writer), Some("bucket:photos"), Err(Forbidden)),
            ("other resource", &bucket, Some(&photos), Some("bucket:other"), Err(Forbidden)),
            ("other type", &bucket, Some(&every), Some("repo:photos"), Err(Forbidden)),
            ("type:* grant", &bucket, Some(&every), Some("bucket:photos"), Ok(())),
            (
                "grant without scope",
                &bucket,
                Some(&identity(&[], &[("bucket:*", "*")])),
                Some("bucket:a"),
                Err(NotFound),
            ),
            ("resource missing in input", &bucket, Some(&owner), None, Err(Forbidden)),
            ("resource, anonymous", &bucket, None, Some("bucket:photos"), Err(Unauthenticated)),
            ("resource, owner", &bucket, Some(&owner), Some("bucket:photos"), Ok(())),
        ];
        for (what, rule, who, resource, expected) in table {
            let resource = resource.map(|text| text.parse().unwrap());
            assert_eq!(decide(rule, *who, resource.as_ref()), *expected, "{what}");
        }
    }

    #[test]
    fn a_star_is_a_whole_segment() {
        assert!(scope("fs:*").covers(&scope("fs:read")));
        assert!(scope("*:read").covers(&scope("fs:read")));
        assert!(!scope("fs:*").covers(&scope("fsx:read")));
        assert!(!scope("fs:read").covers(&scope("fs:*")), "holding one action is not holding all");
        for bad in ["", "fs", "fs:", ":read", "fs:re*", "f*:read", "FS:read", "fs:read:x", "fs :read", "-fs:read"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
        assert!(format!("fs:{}", "a".repeat(MAX_SCOPE_BYTES)).parse::<Scope>().is_err());
    }

    #[test]
    fn scopes_and_resources_are_written_as_they_are_read() {
        for text in ["fs:read", "*:*", "remote:box-1.lan", "a_b:c_d"] {
            assert_eq!(scope(text).to_string(), text);
            assert_eq!(serde_json::from_value::<Scope>(serde_json::json!(text)).unwrap(), scope(text));
            assert_eq!(serde_json::to_value(scope(text)).unwrap(), text);
        }
        let resource: ResourceId = "bucket:photos/main".parse().unwrap();
        assert_eq!((resource.kind(), resource.id()), ("bucket", "photos/main"));
        assert_eq!(resource.to_string(), "bucket:photos/main");
        assert_eq!(serde_json::to_value(&resource).unwrap(), "bucket:photos/main");
    }

    #[test]
    fn resources_are_bounded_texts() {
        for bad in ["", "bucket", "bucket:", ":x", "Bucket:x", "bucket:a\nb", "bucket:\0"] {
            assert_eq!(bad.parse::<ResourceId>(), Err(InvalidResource), "{bad:?}");
        }
        assert!(ResourceId::new("bucket", &"a".repeat(MAX_RESOURCE_BYTES)).is_err());
        assert_eq!("bucket:a:b/c".parse::<ResourceId>().unwrap().id(), "a:b/c");
    }
}
