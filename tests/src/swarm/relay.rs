//! A network between agents and collector that can be cut: connections are dropped and new ones
//! closed until it heals.

use anyhow::{Context, Result};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// The network; it ends with this.
pub struct Relay {
    /// Where agents connect.
    pub port: u16,
    whole: watch::Sender<bool>,
    task: JoinHandle<()>,
}

// === impl Relay ===

impl Relay {
    /// Passes on what comes to the collector's port.
    ///
    /// # Errors
    /// No port is to be had.
    pub async fn start(collector_port: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("no port for the relay")?;
        let port = listener.local_addr()?.port();
        let whole = watch::Sender::new(true);
        let task = tokio::spawn(accept(listener, collector_port, whole.clone()));
        Ok(Self { port, whole, task })
    }

    /// Drops everything, and lets nobody through.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Lets new connections through.
    pub fn heal(&self) {
        self.whole.send_replace(true);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, collector_port: u16, whole: watch::Sender<bool>) {
    // It ends when no more can be accepted, and its user sees that nobody comes through.
    while let Ok((agent, _)) = listener.accept().await {
        if *whole.borrow() {
            tokio::spawn(carry(agent, collector_port, whole.subscribe()));
        }
    }
}

async fn carry(mut agent: TcpStream, collector_port: u16, mut whole: watch::Receiver<bool>) {
    let Ok(mut collector) = TcpStream::connect(("127.0.0.1", collector_port)).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut agent, &mut collector) => {}
        _ = whole.wait_for(|whole| !whole) => {}
    }
}
