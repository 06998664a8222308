import { defineConfig } from "vitest/config";

// Everything that a browser asks for lies under dist/assets, which the api serves; every other path is the page.
const server = process.env["SPECTRAIN_SERVER"] ?? "http://127.0.0.1:8000";

export default defineConfig({
  build: { outDir: "dist", assetsDir: "assets", emptyOutDir: true, target: "es2022", modulePreload: { polyfill: false } },
  server: { proxy: { "/api": server, "/socket.io": { target: server, ws: true } } },
  test: { environment: "happy-dom", include: ["src/**/*.test.ts", "src/**/*.test.tsx"] },
});
