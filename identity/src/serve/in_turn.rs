//! A connection that waits for its turn.
//!
//! Several calls of one connection are often answered at once, as they waited for the same commit. Each answer wakes the
//! connection, and whoever has just been woken runs next: it would write every answer by itself, in a TLS record and a
//! packet of its own. So what wakes it has to wait until everything else that is ready has run.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use tokio::task::yield_now;

/// A future that is polled after whatever else is ready.
pub(super) struct InTurn<F> {
    inner: F,
    turn: Option<Arc<Turn>>,
}

/// The turn that a future waits for.
struct Turn {
    has_come: AtomicBool,
    task: Waker,
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.has_come.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl<F> InTurn<F> {
    pub(super) const fn new(inner: F) -> Self {
        Self { inner, turn: None }
    }
}

impl<F> InTurn<Pin<&mut F>> {
    /// The future that waits.
    pub(super) fn as_mut(&mut self) -> Pin<&mut F> {
        self.inner.as_mut()
    }
}

impl<F: Future + Unpin> Future for InTurn<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &self.turn {
            Some(turn) if turn.has_come.load(Ordering::Acquire) => {
                self.turn = None;
                Pin::new(&mut self.inner).poll(context)
            }
            // Whoever polls now is to be woken.
            Some(turn) if turn.task.will_wake(context.waker()) => Poll::Pending,
            _ => {
                let turn = Arc::new(Turn { has_come: AtomicBool::new(false), task: context.waker().clone() });
                let waker = Waker::from(Arc::clone(&turn));
                // Within the runtime it is pending once, and wakes when nothing else is ready.
                let mut others = std::pin::pin!(yield_now());
                let _ = others.as_mut().poll(&mut Context::from_waker(&waker));
                self.turn = Some(turn);
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::atomic::AtomicUsize};

    use tokio::sync::mpsc;

    use super::*;

    /// One answer after another, each by a task that wakes whoever listens.
    #[tokio::test]
    async fn hears_all_that_is_ready_at_once() {
        const ANSWERS: usize = 8;
        let (sender, mut answers) = mpsc::unbounded_channel();
        let polls = AtomicUsize::new(0);
        let mut heard = 0;
        let listening = poll_fn(|context| {
            polls.fetch_add(1, Ordering::Relaxed);
            while let Poll::Ready(answer) = answers.poll_recv(context) {
                heard += usize::from(answer.is_some());
                if answer.is_none() {
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        });
        for number in 0..ANSWERS {
            tokio::spawn({
                let sender = sender.clone();
                async move { sender.send(number) }
            });
        }
        drop(sender);
        InTurn::new(std::pin::pin!(listening)).await;
        assert_eq!(heard, ANSWERS);
        assert_eq!(polls.into_inner(), 1, "all had spoken before it was its turn");
    }

    #[tokio::test]
    async fn has_a_turn_after_each_wake() {
        let (sender, mut answers) = mpsc::channel::<usize>(1);
        let listening = tokio::spawn(async move {
            let mut heard = Vec::new();
            InTurn::new(std::pin::pin!(async {
                while let Some(answer) = answers.recv().await {
                    heard.push(answer);
                }
            }))
            .await;
            heard
        });
        for number in 0..5 {
            sender.send(number).await.unwrap();
        }
        drop(sender);
        assert_eq!(listening.await.unwrap(), [0, 1, 2, 3, 4]);
    }
}
