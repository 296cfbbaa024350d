//! The proxy-wasm module that Envoy loads: callbacks become events of `kt-filter-core`, its actions become
//! calls to the host. Nothing is decided here.

mod exchange;
mod host;
mod root;
mod shared;
mod till;

mod entry {
    //! What Envoy calls first.

    proxy_wasm::main! {{
        proxy_wasm::set_root_context(|_| Box::new(crate::root::Root::default()));
    }}
}
