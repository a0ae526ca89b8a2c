//! Who is at the door, whatever carries them: one question, one answer.

use std::future::Future;

use super::{
    identify::{self, Denied, Identify},
    session::Owner,
};
use crate::{config::Secret, peer::Peer};

/// How callers are told apart.
#[derive(Clone)]
pub enum Doorman {
    /// By their token.
    Hub(Identify),
    /// By their uid.
    Local,
}

/// Somebody known. A token is asked about again for as long as this lives.
pub struct Admitted {
    /// Whose stream it is.
    pub owner: Owner,
    _watching: Option<Watching>,
}

struct Watching {
    identify: Identify,
    token: Secret,
}

// === impl Doorman ===

impl Doorman {
    /// Says whose the stream is: by what `authorization` holds, or by `peer`, which is asked only
    /// where no hub says who is who.
    ///
    /// # Errors
    /// The caller does not pass.
    pub async fn admit(
        &self,
        authorization: Option<&[u8]>,
        peer: impl Future<Output = Option<Peer>>,
    ) -> Result<Admitted, Denied> {
        match self {
            Self::Hub(identify) => {
                let token = identify::bearer(authorization)?;
                let verified = identify.server(&token).await?;
                let owner = Owner::Server(verified.key.clone());
                identify.watch(token.clone(), verified);
                let identify = identify.clone();
                Ok(Admitted {
                    owner,
                    _watching: Some(Watching { identify, token }),
                })
            }
            Self::Local => {
                let peer = peer.await.ok_or(Denied::UnknownPeer)?;
                Ok(Admitted {
                    owner: Owner::Login(peer.login().as_str().to_owned()),
                    _watching: None,
                })
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.identify.unwatch(&self.token);
    }
}
