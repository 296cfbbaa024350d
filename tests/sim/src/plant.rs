//! Bugs that are planted on request, to see that they are found. The code under test stays as it is: each is a line
//! of the world around it that does what a careless service would do.

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// What a leader brings is stored, whether its token counts or not.
    NoFence,
    /// An answer is stored however its transport ended.
    CacheTruncated,
    /// What was invalidated while it was made is stored.
    FillAfterInvalidation,
    /// Who reads an entry does not compare its generations.
    ServeInvalidated,
    /// An `Idempotency-Key` is not looked at.
    NoIdempotency,
    /// A settle that is asked for again is written again.
    SettleTwice,
    /// Some settles are forgotten.
    DropSettle,
    /// Who follows pays as well.
    FollowerPays,
    /// Money is given back when a client leaves, whatever the provider has said.
    ReleaseAnswered,
    /// A lease store that lost its memory gives the same tokens again.
    TokenRegress,
    /// Who waits for an answer in another shape is not woken.
    ForgetWaiters,
    /// Entries are found whatever the policy is, and their gates are not compared.
    AnyPolicy,
    /// A call is made before its money is set aside for certain.
    CallUnpaid,
    /// Who asks again for money to be moved names another movement.
    MoveTwice,
    /// Money that is set aside may be moved.
    MoveHeld,
    /// What a purse gets is not taken from the wallet.
    MoveFromNowhere,
}

// === impl Plant ===

impl Plant {
    /// Every one.
    pub const ALL: [Self; 16] = [
        Self::NoFence,
        Self::CacheTruncated,
        Self::FillAfterInvalidation,
        Self::ServeInvalidated,
        Self::NoIdempotency,
        Self::SettleTwice,
        Self::DropSettle,
        Self::FollowerPays,
        Self::ReleaseAnswered,
        Self::TokenRegress,
        Self::ForgetWaiters,
        Self::AnyPolicy,
        Self::CallUnpaid,
        Self::MoveTwice,
        Self::MoveHeld,
        Self::MoveFromNowhere,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoFence => "no-fence",
            Self::CacheTruncated => "cache-truncated",
            Self::FillAfterInvalidation => "fill-after-invalidation",
            Self::ServeInvalidated => "serve-invalidated",
            Self::NoIdempotency => "no-idempotency",
            Self::SettleTwice => "settle-twice",
            Self::DropSettle => "drop-settle",
            Self::FollowerPays => "follower-pays",
            Self::ReleaseAnswered => "release-answered",
            Self::TokenRegress => "token-regress",
            Self::ForgetWaiters => "forget-waiters",
            Self::AnyPolicy => "any-policy",
            Self::CallUnpaid => "call-unpaid",
            Self::MoveTwice => "move-twice",
            Self::MoveHeld => "move-held",
            Self::MoveFromNowhere => "move-from-nowhere",
        }
    }

    /// The bug of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plant| plant.as_str() == name)
    }
}
