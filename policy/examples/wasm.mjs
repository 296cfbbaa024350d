// Times the example `wasm` in Node's V8, by the time of the processor: node policy/examples/wasm.mjs PATH/wasm.wasm
import { readFileSync } from "node:fs";

const ROUNDS = 1000;
const ROWS = ["detectors", "default chain"].flatMap((what) => ["prose", "JSON", "a program"].map((text) => `${what}, ${text}`));

const module = new WebAssembly.Module(readFileSync(process.argv[2]));
const { main } = new WebAssembly.Instance(module, {}).exports;
const took = ROWS.map(() => []);
for (let run = 0; run < 6; run += 1) {
  for (const row of took) {
    const before = process.cpuUsage();
    main(0, 0);
    row.push(process.cpuUsage(before).user / 1000 / ROUNDS);
  }
}
// The first run is the one in which V8 still compiles.
took.forEach(([first, ...runs], row) => {
  const [least, most] = [Math.min(...runs), Math.max(...runs)].map((time) => time.toFixed(3));
  console.log(`${ROWS[row]}: ${least} to ${most} ms per 10 KB, ${first.toFixed(3)} in the first run`);
});
