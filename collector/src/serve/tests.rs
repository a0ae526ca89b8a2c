//! The whole of `serve` against a hub of ours that answers as the real one does (recorded answers
//! are its model), over the router or over real sockets.

mod answers;
mod audit;
mod bed;
mod document;
mod forms;
mod holds;
mod identity;
mod lists;
mod local;
mod login;
mod reports;
mod stream;
mod told;
