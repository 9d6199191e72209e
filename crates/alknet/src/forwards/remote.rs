//! `-R`: listeners at the node.

use std::sync::Arc;

use alknet_ssh::{ForwardStream, ListenError, RemoteListener, SshClient};
use tokio::net::{TcpStream, UnixStream};

use super::{Complaints, Place, RemoteSpec};

/// A listener at the node whose connections come here.
pub struct RemoteForward {
    listener: RemoteListener,
    /// Where the node listens, with the port that was chosen.
    pub listen: Place,
    to: Place,
}

impl RemoteForward {
    /// Has the node listen.
    pub async fn listen(client: &SshClient, spec: &RemoteSpec) -> Result<Self, ListenError> {
        let (listener, listen) = match &spec.listen {
            Place::Tcp { host, port } => {
                let listener = client.listen_tcp(host, *port).await?;
                let port = u16::try_from(listener.port()).unwrap_or(*port);
                (listener, Place::Tcp { host: host.clone(), port })
            }
            Place::Unix(path) => (client.listen_unix(path).await?, spec.listen.clone()),
        };
        Ok(Self { listener, listen, to: spec.to.clone() })
    }

    /// Forwards every connection, each in a task of its own, until the connection to the node has ended.
    pub async fn run(mut self) {
        let complaints = Arc::new(Complaints::default());
        while let Some((stream, _origin)) = self.listener.accept().await {
            let (to, complaints) = (self.to.clone(), complaints.clone());
            tokio::spawn(async move {
                if let Err(error) = forward(stream, &to).await {
                    complaints.say(format!("{to}: {error}"));
                }
            });
        }
    }
}

/// Connects here; what fails after that is the two ends' business.
async fn forward(stream: ForwardStream, to: &Place) -> std::io::Result<()> {
    let ended = match to {
        Place::Tcp { host, port } => {
            let socket = TcpStream::connect((host.as_str(), *port)).await?;
            // Without it the connection is only slower.
            let _ = socket.set_nodelay(true);
            let (reader, writer) = socket.into_split();
            stream.relay(reader, writer).await
        }
        Place::Unix(path) => {
            let (reader, writer) = UnixStream::connect(path).await?.into_split();
            stream.relay(reader, writer).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a forwarded connection broke off");
    }
    Ok(())
}
