//! No join token that can still be used comes into the audit log, whoever names the agent that it would make, and in
//! whichever call: every event passes here on its way to the log.
//!
//! Whether a token was used is told by its agent, which stands in the database from the commit on that uses the token.
//! An agent that was forgotten since is taken for one that never was; its token is hidden although it opens nothing.

use std::collections::{BTreeSet, HashSet};

use super::{Change, Commit, Store};
use crate::{
    agents::{agents_by_token, hide_unused_tokens},
    audit::Event,
};

impl Store {
    /// A text as it may stand in a log.
    pub(crate) async fn without_unused_tokens(&self, text: &str) -> String {
        let named: BTreeSet<String> = agents_by_token(text).map(str::to_owned).collect();
        let joined = self.joined(&named, &[]).await;
        hide_unused_tokens(text, |agent| joined.contains(agent))
    }

    /// Hides the unused tokens in what a commit tells the log.
    pub(super) async fn hide_tokens_in(&self, commit: &mut Commit) {
        // Callers choose many of these texts, and how long they are.
        commit.events.iter_mut().for_each(Event::drop_excess);
        let texts = commit.events.iter().flat_map(|event| event.texts());
        let named: BTreeSet<String> = texts.flat_map(agents_by_token).map(str::to_owned).collect();
        // Nearly always. Who acts is not looked at: they joined, or they would not have been let in.
        if named.is_empty() {
            return;
        }
        let joined = self.joined(&named, &commit.changes).await;
        for text in commit.events.iter_mut().flat_map(|event| event.texts_mut()) {
            *text = hide_unused_tokens(text, |agent| joined.contains(agent));
        }
    }

    /// Those of `named` that are agents: in the database, or by the changes that are made together with what names
    /// them. When the database does not say, nobody is one.
    async fn joined(&self, named: &BTreeSet<String>, changes: &[Change]) -> HashSet<String> {
        let joins = |change: &Change| match change {
            Change::AddAgent(row) => Some(row.spiffe_id.clone()),
            _ => None,
        };
        let mut joined: HashSet<String> = changes.iter().filter_map(joins).collect();
        let asked: Vec<&String> = named.iter().filter(|id| !joined.contains(*id)).collect();
        match self.known_agents(&asked).await {
            Ok(known) => joined.extend(known),
            Err(error) => {
                tracing::warn!(%error, "whether agents joined cannot be read; their tokens are hidden in the log");
            }
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::Action,
        instant::Clock,
        store::{AgentRow, testing},
    };

    const AGENT: &str = "spiffe://example.org/spire/agent/join_token/0123456789abcdef";
    const OTHER: &str = "spiffe://example.org/spire/agent/join_token/fedcba9876543210";

    fn row() -> AgentRow {
        AgentRow { spiffe_id: AGENT.to_owned(), body: vec![1], mac: vec![2] }
    }

    fn commit(changes: Vec<Change>) -> Commit {
        let event = Event::by_daemon(Action::AgentAttest, AGENT).with("beside", OTHER).failed(AGENT);
        Commit { changes, events: vec![event] }
    }

    /// Whether the first agent's ID can be read, everywhere or nowhere.
    async fn shows(store: &Store, changes: Vec<Change>) -> bool {
        let mut commit = commit(changes);
        store.hide_tokens_in(&mut commit).await;
        let texts: Vec<_> = commit.events[0].texts().collect();
        assert!(!texts[1].contains("fedcba9876543210"), "{texts:?}");
        assert_eq!(texts[0] == AGENT, texts[2] == AGENT, "{texts:?}");
        assert!(texts[0] == AGENT || !texts[0].contains("0123456789abcdef"), "{texts:?}");
        texts[0] == AGENT
    }

    #[tokio::test]
    async fn hides_a_token_until_its_agent_has_joined() {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::open(folder.path(), Clock::system()).await;
        assert!(!shows(&store, Vec::new()).await);
        assert!(shows(&store, vec![Change::AddAgent(row())]).await, "it joins in the same commit");
        store.write(Change::AddAgent(row())).await.unwrap();
        assert!(shows(&store, Vec::new()).await);
        let gone = || vec![Change::DeleteAgent { spiffe_id: AGENT.to_owned(), old_mac: vec![2] }];
        assert!(shows(&store, gone()).await, "it is told who is forgotten");
        store.commit(Commit { changes: gone(), events: Vec::new() }).await.unwrap();
        assert!(!shows(&store, Vec::new()).await);
        store.close().await;
    }

    #[tokio::test]
    async fn hides_every_token_when_the_database_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::open(folder.path(), Clock::system()).await;
        store.write(Change::AddAgent(row())).await.unwrap();
        testing::stop_reading(&store).await;
        assert!(!shows(&store, Vec::new()).await);
    }

    /// A workload chooses its audiences, and how long they are; no log keeps more than a little of them.
    #[tokio::test]
    async fn looks_at_no_more_of_a_text_than_the_log_keeps() {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::open(folder.path(), Clock::system()).await;
        let long = format!("spiffe://a/join_token/{}", "aaaaaaaaaaaaaaaa/".repeat(200_000));
        let event = Event::by_daemon(Action::JwtIssue, long.clone()).with("audience", long);
        let mut commit = Commit { changes: Vec::new(), events: vec![event] };
        let before = commit.events[0].clone();
        store.hide_tokens_in(&mut commit).await;
        for (shown, given) in commit.events[0].texts().zip(before.texts()) {
            assert!(shown.len() < 16 * 1024 && given.len() > 3_000_000, "{}", shown.len());
            assert!(!shown.contains("aaaaaaaaaaaaaaaa"));
        }
        store.close().await;
    }
}
