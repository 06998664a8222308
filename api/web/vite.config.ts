import { gzipSync } from "node:zlib";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** Bytes of gzip that scripts and styles may have together, as the api serves them. */
const BUDGET = 120_000;

// Everything that a browser asks for lies under dist/assets, which the api serves; every other path is the page.
const server = process.env["SPECTRAIN_SERVER"] ?? "http://127.0.0.1:8000";

/** A build that is heavier fails. */
const budget: Plugin = {
  name: "budget",
  apply: "build",
  generateBundle: {
    order: "post",
    handler(_options, bundle) {
      const texts = Object.values(bundle)
        .filter((file) => /\.(js|css)$/.test(file.fileName))
        .map((file) => (file.type === "chunk" ? file.code : file.source));
      const bytes = texts.reduce((sum, text) => sum + gzipSync(text, { level: 9 }).length, 0);
      if (bytes > BUDGET) this.error(`Scripts and styles are ${bytes} bytes of gzip together, more than ${BUDGET}: make them lighter.`);
      this.info(`Scripts and styles are ${bytes} bytes of gzip together, of at most ${BUDGET}.`);
    },
  },
};

export default defineConfig({
  plugins: [budget],
  build: {
    outDir: "dist",
    assetsDir: "assets",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    // From it the api knows what the page of a job needs, and has it sent along.
    manifest: "manifest.json",
    // What the page starts with is one file, and not one for the app and one for what the app shares with other pages.
    rolldownOptions: { output: { codeSplitting: { groups: [{ name: "app", test: /src\/app\.tsx$/ }] } } },
  },
  server: { proxy: { "/api": server, "/socket.io": { target: server, ws: true } } },
  test: { environment: "happy-dom", include: ["src/**/*.test.ts", "src/**/*.test.tsx"] },
});
