//! What a green thread is made of: the slot, thread-local storage, its stacks. It knows nothing of who runs it. It uses `base`.

pub(crate) mod executable;
pub(crate) mod native_stack;
pub(crate) mod robust;
pub(crate) mod rseq;
pub(crate) mod setxid;
pub(crate) mod slot;
pub(crate) mod tls;
