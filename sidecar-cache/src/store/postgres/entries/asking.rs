//! How the database is asked: within a budget, by the leave of the breaker, and told how long it may take.

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Row;

use super::watch::Ended;
use super::{PostgresEntries, Shared};
use crate::store::StoreError;
use crate::store::postgres::database::Typed;
use crate::store::postgres::fault::Fault;

// === impl PostgresEntries ===

impl PostgresEntries {
    /// Asks within a budget, and once more where the connection has just broken: twice is as good as once.
    pub(super) async fn within<T, F>(
        &self,
        budget: Duration,
        ask: impl Fn() -> F + Send,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Fault>> + Send,
        T: Send,
    {
        let Shared { database, watch, .. } = &*self.shared;
        let clock = database.clock();
        let Some(admitted) = watch.admit(clock.mono()) else {
            let why = "it has failed too often and is left alone for a second";
            return Err(StoreError::Away(why.to_owned()));
        };
        let asked = async {
            match ask().await {
                Err(Fault::Again(_)) => ask().await,
                answer => answer,
            }
        };
        let answer = timeout(budget, asked).await;
        let ended = match &answer {
            Ok(Ok(_)) => Ended::Answered,
            Ok(Err(fault)) => Ended::Failed(fault),
            Err(_) => Ended::Late,
        };
        watch.ended(admitted, &ended, database, clock.mono());
        let answer = answer.map_err(|_| StoreError::Away("no answer in time".to_owned()))?;
        answer.map_err(|fault| match fault {
            // That it went is told by the watch.
            Fault::Again(why) | Fault::Later(why) | Fault::ReadOnly(why) => StoreError::Away(why),
            Fault::Failed(_) | Fault::Never(_) | Fault::Corrupt(_) => fault.into(),
        })
    }

    /// One question. The server is told how long it may take, all on one way there and back.
    pub(super) async fn read(&self, sql: &str, typed: &[Typed<'_>]) -> Result<Vec<Row>, Fault> {
        let session = self.shared.database.session().await?;
        let client = session.client()?;
        // Sent in this order.
        let (begun, rows, ended) = tokio::join!(
            client.batch_execute(&self.statements().begin_read),
            client.query_typed(sql, typed),
            client.batch_execute("COMMIT"),
        );
        begun?;
        ended?;
        session.ended();
        Ok(rows?)
    }
}
