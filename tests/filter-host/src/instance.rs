//! One instance of the module: its callbacks, each called under a bound of fuel. A trap is an error that the
//! VM does not survive.

use std::rc::Rc;

use wasmtime::{
    Instance as WasmInstance, Store, StoreLimitsBuilder, TypedFunc, WasmParams, WasmResults,
};

use crate::abi::MEMORY_BYTES_MAX;
use crate::exchange::Direction;
use crate::host::Host;
use crate::state::{Process, State};

/// The words of a trap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trap(pub String);

/// Root context, token, and how many headers, bytes of body and trailers there are.
type CalloutReply = (u32, u32, u32, u32, u32);

/// The callbacks of one direction.
struct Callbacks {
    headers: Option<TypedFunc<(u32, u32, u32), u32>>,
    body: Option<TypedFunc<(u32, u32, u32), u32>>,
    trailers: Option<TypedFunc<(u32, u32), u32>>,
}

/// All callbacks. One that the module does not export is not called, as in Envoy.
struct Exports {
    create: Option<TypedFunc<(u32, u32), ()>>,
    vm_start: Option<TypedFunc<(u32, u32), u32>>,
    configure: Option<TypedFunc<(u32, u32), u32>>,
    tick: Option<TypedFunc<u32, ()>>,
    request: Callbacks,
    response: Callbacks,
    callout: Option<TypedFunc<CalloutReply, ()>>,
    done: Option<TypedFunc<u32, u32>>,
    log: Option<TypedFunc<u32, ()>>,
    delete: Option<TypedFunc<u32, ()>>,
}

/// A running instance.
pub(crate) struct Instance {
    store: Store<State>,
    exports: Exports,
    fuel_used: u64,
    /// What callbacks may still burn before one of them traps, where a test has said so.
    trap_after: Option<u64>,
}

// === impl Instance ===

impl Instance {
    /// Instantiates the module: memory, initialization, no context yet.
    pub(crate) fn new(host: &Host, process: Rc<Process>, seed: u64) -> Result<Self, Trap> {
        let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES_MAX).build();
        let mut store = Store::new(&host.engine, State::new(process, limits, seed));
        store.limiter(|state| &mut state.limits);
        store.set_fuel(u64::MAX).map_err(|error| trap(&error))?;
        let wasm = host.linked.instantiate(&mut store).map_err(|error| trap(&error))?;
        let memory = wasm.get_memory(&mut store, "memory");
        let allocate = wasm
            .get_typed_func::<u32, u32>(&mut store, "proxy_on_memory_allocate")
            .or_else(|_| wasm.get_typed_func(&mut store, "malloc"));
        let state = store.data_mut();
        state.memory = memory;
        state.allocate = allocate.ok();
        let exports = Exports::of(&wasm, &mut store);
        let mut instance = Self { store, exports, fuel_used: 0, trap_after: None };
        for name in ["_initialize", "_start"] {
            if let Ok(start) = wasm.get_typed_func::<(), ()>(&mut instance.store, name) {
                instance.call(0, Some(start), ())?;
                break;
            }
        }
        Ok(instance)
    }

    pub(crate) fn state(&self) -> &State {
        self.store.data()
    }

    pub(crate) fn state_mut(&mut self) -> &mut State {
        self.store.data_mut()
    }

    pub(crate) fn fuel_used(&self) -> u64 {
        self.fuel_used
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    pub(crate) fn trap_after(&mut self, fuel: u64) {
        self.trap_after = Some(fuel);
    }

    /// Creates the root context, starts the VM and configures the plugin. `Ok(false)` if the filter
    /// does not want to run.
    pub(crate) fn start(&mut self) -> Result<bool, Trap> {
        let root = self.state_mut().allocate_context();
        self.state_mut().root = root;
        self.call(root, self.exports.create.clone(), (root, 0))?;
        let settings = &self.state().process.settings;
        let vm_len = u32::try_from(settings.vm_configuration.len()).unwrap_or(u32::MAX);
        let plugin_len = u32::try_from(settings.plugin_configuration.len()).unwrap_or(u32::MAX);
        if self.call(root, self.exports.vm_start.clone(), (root, vm_len))? == Some(0) {
            return Ok(false);
        }
        Ok(self.call(root, self.exports.configure.clone(), (root, plugin_len))? != Some(0))
    }

    pub(crate) fn create_context(&mut self, context: u32) -> Result<(), Trap> {
        let root = self.state().root;
        self.call(context, self.exports.create.clone(), (context, root)).map(drop)
    }

    pub(crate) fn tick(&mut self) -> Result<(), Trap> {
        let root = self.state().root;
        self.call(root, self.exports.tick.clone(), root).map(drop)
    }

    /// `None`: the module has no such callback, and everything passes.
    pub(crate) fn headers(
        &mut self,
        direction: Direction,
        context: u32,
        count: usize,
        end: bool,
    ) -> Result<Option<u32>, Trap> {
        let callback = self.callbacks(direction).headers.clone();
        self.call(context, callback, (context, number(count), u32::from(end)))
    }

    pub(crate) fn body(
        &mut self,
        direction: Direction,
        context: u32,
        len: usize,
        end: bool,
    ) -> Result<Option<u32>, Trap> {
        let callback = self.callbacks(direction).body.clone();
        self.call(context, callback, (context, number(len), u32::from(end)))
    }

    pub(crate) fn trailers(
        &mut self,
        direction: Direction,
        context: u32,
        count: usize,
    ) -> Result<Option<u32>, Trap> {
        let callback = self.callbacks(direction).trailers.clone();
        self.call(context, callback, (context, number(count)))
    }

    /// The root context gets the reply; the SDK finds the stream that asked.
    pub(crate) fn callout_reply(
        &mut self,
        token: u32,
        headers: usize,
        body: usize,
        trailers: usize,
    ) -> Result<(), Trap> {
        let root = self.state().root;
        let sizes = (root, token, number(headers), number(body), number(trailers));
        self.call(root, self.exports.callout.clone(), sizes).map(drop)
    }

    pub(crate) fn log(&mut self, context: u32) -> Result<(), Trap> {
        self.call(context, self.exports.log.clone(), context).map(drop)
    }

    pub(crate) fn done(&mut self, context: u32) -> Result<(), Trap> {
        self.call(context, self.exports.done.clone(), context).map(drop)
    }

    pub(crate) fn delete(&mut self, context: u32) -> Result<(), Trap> {
        self.call(context, self.exports.delete.clone(), context).map(drop)
    }

    fn callbacks(&self, direction: Direction) -> &Callbacks {
        match direction {
            Direction::Request => &self.exports.request,
            Direction::Response => &self.exports.response,
        }
    }

    fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        context: u32,
        callback: Option<TypedFunc<P, R>>,
        arguments: P,
    ) -> Result<Option<R>, Trap> {
        let Some(callback) = callback else { return Ok(None) };
        let state = self.store.data_mut();
        state.effective = context;
        let bound = state.process.settings.callback_fuel_max;
        let fuel = self.trap_after.map_or(bound, |left| left.min(bound));
        self.store.set_fuel(fuel).map_err(|error| trap(&error))?;
        let result = callback.call(&mut self.store, arguments).map_err(|error| trap(&error));
        let left = self.store.get_fuel().unwrap_or(0);
        let used = fuel.saturating_sub(left);
        self.fuel_used = self.fuel_used.saturating_add(used);
        self.trap_after = self.trap_after.map(|left| left.saturating_sub(used));
        self.store.data_mut().stop_next_iteration = false;
        result.map(Some)
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("fuel_used", &self.fuel_used).finish_non_exhaustive()
    }
}

// === impl Exports ===

impl Exports {
    fn of(wasm: &WasmInstance, store: &mut Store<State>) -> Self {
        Self {
            create: find(wasm, store, "proxy_on_context_create"),
            vm_start: find(wasm, store, "proxy_on_vm_start"),
            configure: find(wasm, store, "proxy_on_configure"),
            tick: find(wasm, store, "proxy_on_tick"),
            request: Callbacks {
                headers: find(wasm, store, "proxy_on_request_headers"),
                body: find(wasm, store, "proxy_on_request_body"),
                trailers: find(wasm, store, "proxy_on_request_trailers"),
            },
            response: Callbacks {
                headers: find(wasm, store, "proxy_on_response_headers"),
                body: find(wasm, store, "proxy_on_response_body"),
                trailers: find(wasm, store, "proxy_on_response_trailers"),
            },
            callout: find(wasm, store, "proxy_on_http_call_response"),
            done: find(wasm, store, "proxy_on_done"),
            log: find(wasm, store, "proxy_on_log"),
            delete: find(wasm, store, "proxy_on_delete"),
        }
    }
}

fn find<P: WasmParams, R: WasmResults>(
    wasm: &WasmInstance,
    store: &mut Store<State>,
    name: &str,
) -> Option<TypedFunc<P, R>> {
    wasm.get_typed_func(store, name).ok()
}

fn trap(error: &wasmtime::Error) -> Trap {
    Trap(format!("{error:?}"))
}

fn number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
