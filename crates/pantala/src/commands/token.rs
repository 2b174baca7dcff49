//! `pantala token`: straight on the authority's folder, so that it works with and without a running scheduler.

use std::{
    num::NonZeroU32,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use identity::{Role, TokenId, TokenInfo, TokenStore};
use serde::Serialize;

use super::authority;
use crate::{
    cli::{AuthorityArgs, TokenCommand},
    problem::{Exit, Problem},
    show,
};

#[derive(Serialize)]
struct Row {
    id: String,
    role: &'static str,
    uses_left: u32,
    expires_at: String,
    is_expired: bool,
}

#[derive(Serialize)]
struct Made<'a> {
    id: String,
    token: &'a str,
}

pub(super) fn run(file: Option<PathBuf>, command: TokenCommand) -> Result<(), Problem> {
    match command {
        TokenCommand::Create {
            role,
            uses,
            ttl,
            authority,
        } => {
            let store = store(file, &authority, true)?;
            create(&store, (role, uses, ttl), authority.json)
        }
        TokenCommand::List { authority } => {
            let tokens = store(file, &authority, false)?.list();
            let tokens = tokens.map_err(|error| failed("listing tokens failed", error))?;
            let rows: Vec<Row> = tokens.iter().map(row).collect();
            show::list(&rows, authority.json, table)
        }
        TokenCommand::Revoke { id, authority } => {
            let store = store(file, &authority, false)?;
            revoke(&store, id, authority.json)
        }
    }
}

fn create(
    store: &TokenStore,
    (role, uses, ttl): (Role, NonZeroU32, Duration),
    as_json: bool,
) -> Result<(), Problem> {
    let minted = store.mint(role, uses, ttl);
    let minted = minted.map_err(|error| failed("making a token failed", error))?;
    let token = minted.text.expose();
    if as_json {
        let id = minted.id.to_string();
        return show::print(&show::json(&Made { id, token }));
    }
    show::print(&format!("{token}\n"))?;
    eprintln!(
        "token {} lets {uses} join as {role}; it is shown only now. Put it into a file that only the daemon reads,\n\
         and name that file in control.join_token_file.",
        minted.id
    );
    Ok(())
}

fn revoke(store: &TokenStore, id: TokenId, as_json: bool) -> Result<(), Problem> {
    let revoked = store.revoke(id);
    match revoked.map_err(|error| failed("revoking the token failed", error))? {
        true if as_json => show::print(&show::json(
            &serde_json::json!({ "revoked": id.to_string() }),
        )),
        true => show::print(&format!("token {id} is revoked\n")),
        false => Err(
            Problem::new(Exit::Failed, format!("there is no token {id}"))
                .next("look it up with `pantala token list`"),
        ),
    }
}

fn failed(doing: &str, error: impl Into<anyhow::Error>) -> Problem {
    Problem::of(Exit::Failed, doing, error).next(authority::NEXT)
}

/// The tokens of the authority. Only making a token may make an authority.
fn store(
    file: Option<PathBuf>,
    args: &AuthorityArgs,
    may_found: bool,
) -> Result<TokenStore, Problem> {
    let (authority, _) = authority::open(file, args, may_found)?;
    Ok(authority.ca.tokens())
}

fn row(info: &TokenInfo) -> Row {
    let expires_at = jiff::Timestamp::try_from(info.expires_at);
    Row {
        id: info.id.to_string(),
        role: info.role.as_str(),
        uses_left: info.uses_left,
        expires_at: expires_at.map_or_else(|_| "never".to_owned(), |at| at.to_string()),
        is_expired: info.expires_at <= SystemTime::now(),
    }
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "there are no tokens; make one with `pantala token create`\n".to_owned();
    }
    let rows = rows.iter().map(|row| {
        let expires = if row.is_expired {
            "expired"
        } else {
            &row.expires_at
        };
        vec![
            row.id.clone(),
            row.role.to_owned(),
            row.uses_left.to_string(),
            expires.to_owned(),
        ]
    });
    show::table(
        &["ID", "ROLE", "USES LEFT", "EXPIRES"],
        &[2],
        rows.collect(),
    )
}
