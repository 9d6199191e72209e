//! `alknet credential`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, IsTerminal, Read, Write},
};

use alknet_call::{CredentialField, CredentialKind};
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::{Place, output};
use crate::{
    failure::{Failure, Kind},
    node_client::NodeClient,
    operations::credentials::{
        CredentialName, CredentialView, Credentials, GiveCredential, RemovedCredential, SecretText,
    },
};

/// Largest file or input that a secret is read from, in bytes.
const MAX_SECRET_FILE_BYTES: u64 = 128 * 1024;

/// What services elsewhere want to be shown: API keys, passwords, tokens
///
/// A credential is sealed with this node's key and given to the operations that declared its name, when they run. Nobody
/// is shown it again. The secret comes from standard input, a file or a prompt, never from the command line.
///
/// Kinds, with what they consist of (optional ones in brackets):
///   api-key  key
///   basic    username, password
///   bearer   token
///   s3       access_key_id, secret_access_key [endpoint, region, session_token]
///   oidc     token_endpoint, client_id, refresh_token or access_token [client_secret, expires_at, scope]
///   custom   whatever the service wants
/// For api-key and bearer the input is the secret itself; for the others it is a JSON object of texts. Tokens of the kind
/// oidc are renewed at their provider before they end.
///
/// Examples:
///   alknet credential add github --kind bearer < token.txt
///   alknet credential add mail --kind basic
///   alknet credential add store --kind s3 --file keys.json --expires 90d
///   alknet credential rotate github --kind bearer --file -
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Credential {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Add a credential
    Add(Give),
    /// List the credentials, without their secrets
    List,
    /// Give a credential another secret; operations that run from then on get the new one
    Rotate(Give),
    /// Remove a credential; operations that declared it fail from then on
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Args)]
struct Give {
    /// Its name, which operations declare: a-z 0-9 . -
    name: String,
    /// What sort it is: api-key, basic, bearer, s3, oidc or custom
    #[arg(long, value_parser = kind)]
    kind: CredentialKind,
    /// Read the secret from a file, or - for standard input [default: standard input, or a prompt on a terminal]
    #[arg(long)]
    file: Option<String>,
    /// How long it is good: 12h, 90d [default: until it is removed]
    #[arg(long, value_name = "TIME", value_parser = output::parse_duration)]
    expires: Option<u64>,
    /// A few words about it, which are no secret
    #[arg(long)]
    note: Option<String>,
}

fn kind(text: &str) -> Result<CredentialKind, String> {
    text.parse().map_err(|error: alknet_call::InvalidCredentialSet| error.to_string())
}

impl Credential {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        match self.action {
            Action::Add(give) => give.run(place, "credentials/add", "is sealed").await,
            Action::Rotate(give) => give.run(place, "credentials/rotate", "has a new secret").await,
            Action::List => {
                let node = NodeClient::local(place).await?;
                let Credentials { credentials } = node.call("credentials/list", &serde_json::json!({})).await?;
                if place.json {
                    return output::json(&credentials);
                }
                let rows: Vec<_> = credentials.into_iter().map(row).collect();
                output::table(["NAME", "KIND", "SINCE", "EXPIRES", "NOTE"], &rows)
            }
            Action::Remove { name } => {
                let node = NodeClient::local(place).await?;
                let removed: RemovedCredential = node.call("credentials/remove", &CredentialName { name }).await?;
                if place.json {
                    return output::json(&removed);
                }
                output::line(format!("there is no credential {} any more", removed.name))
            }
        }
    }
}

fn row(credential: CredentialView) -> [String; 5] {
    let expires = credential.expires_at.map_or_else(|| "never".to_owned(), output::utc);
    let note = credential.note.unwrap_or_default();
    [credential.name, credential.kind, output::utc(credential.rotated_at), expires, note]
}

impl Give {
    async fn run(self, place: &Place, operation: &str, done: &str) -> Result<(), Failure> {
        let fields = self.fields()?;
        let node = NodeClient::local_unlocked(place).await?;
        let Self { name, kind, expires, note, .. } = self;
        let input = GiveCredential { name, kind: kind.to_string(), fields, lifetime_s: expires, note };
        let view: CredentialView = node.call(operation, &input).await?;
        if place.json {
            return output::json(&view);
        }
        output::line(format!("the credential {} ({}) {done}", view.name, view.kind))
    }

    fn fields(&self) -> Result<BTreeMap<String, SecretText>, Failure> {
        match &self.file {
            Some(file) if file != "-" => self.read_fields(&read_file(file)?),
            None if io::stdin().is_terminal() => self.ask_fields(),
            _ => self.read_fields(&read(io::stdin(), "standard input")?),
        }
    }

    /// A kind of one member is that member itself; the others are JSON.
    fn read_fields(&self, text: &str) -> Result<BTreeMap<String, SecretText>, Failure> {
        if let [only] = self.kind.fields() {
            let secret = text.strip_suffix('\n').unwrap_or(text);
            let secret = secret.strip_suffix('\r').unwrap_or(secret);
            return Ok(BTreeMap::from([(only.name.to_owned(), secret_text(secret))]));
        }
        serde_json::from_str(text).map_err(|_| {
            let words =
                format!("a credential of the kind {} is read as a JSON object whose members are texts", self.kind);
            let names: Vec<_> = self.kind.fields().iter().map(|field| field.name).collect();
            let names = if names.is_empty() { "whatever the service wants".to_owned() } else { names.join(", ") };
            Failure::usage(words).hint(format!("its members: {names}"))
        })
    }

    fn ask_fields(&self) -> Result<BTreeMap<String, SecretText>, Failure> {
        if self.kind == CredentialKind::Custom {
            return Err(Failure::usage("what a custom credential consists of is not known here")
                .hint("give it as a JSON object of texts on standard input or with --file"));
        }
        let mut fields = BTreeMap::new();
        for field in self.kind.fields() {
            let answer = ask(field)?;
            if !answer.is_empty() {
                fields.insert(field.name.to_owned(), SecretText::from(answer));
            }
        }
        Ok(fields)
    }
}

fn secret_text(text: &str) -> SecretText {
    SecretText::from(Zeroizing::new(text.to_owned()))
}

/// Asks the person at the terminal; what is secret is not shown while it is typed.
fn ask(field: &CredentialField) -> Result<Zeroizing<String>, Failure> {
    let optional = if field.required { "" } else { " (empty for none)" };
    let prompt = format!("{}{optional}: ", field.name);
    if !field.visible {
        return Ok(Zeroizing::new(rpassword::prompt_password(prompt)?));
    }
    let mut terminal = io::stderr().lock();
    terminal.write_all(prompt.as_bytes())?;
    terminal.flush()?;
    let mut line = Zeroizing::new(String::new());
    io::stdin().lock().take(MAX_SECRET_FILE_BYTES).read_line(&mut line)?;
    Ok(Zeroizing::new(line.trim_end().to_owned()))
}

fn read_file(file: &str) -> Result<Zeroizing<String>, Failure> {
    let opened = File::open(file).map_err(|error| {
        let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
        Failure::caused_by(kind, &error).while_doing(format_args!("cannot read {file}"))
    })?;
    read(opened, file)
}

fn read(from: impl Read, what: &str) -> Result<Zeroizing<String>, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_FILE_BYTES as usize + 1));
    let taken = from.take(MAX_SECRET_FILE_BYTES + 1).read_to_end(&mut bytes);
    taken.map_err(|error| Failure::from(error).while_doing(format_args!("cannot read {what}")))?;
    if bytes.len() as u64 > MAX_SECRET_FILE_BYTES {
        return Err(Failure::usage(format!("{what} is larger than {MAX_SECRET_FILE_BYTES} bytes")));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::usage(format!("{what} is not UTF-8")))?;
    if text.trim().is_empty() {
        return Err(Failure::usage(format!("{what} is empty: no secret there")));
    }
    Ok(Zeroizing::new(text.to_owned()))
}
