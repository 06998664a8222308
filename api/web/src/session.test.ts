import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { wireJob } from "./model/fixtures";

const logIn = (session: object): void => {
  const meta = Object.assign(document.createElement("meta"), { name: "csrf", content: "abc" });
  meta.dataset["session"] = JSON.stringify(session);
  document.head.append(meta);
};

beforeEach(() => vi.resetModules());
afterEach(() => document.head.replaceChildren());

describe("who is logged in", () => {
  it("may everything where nobody has to log in", async () => {
    const { csrf, may, session } = await import("./session");
    expect([csrf, session]).toEqual([null, null]);
    expect(may("tokens.create_token")).toBe(true);
  });

  it("may what the server does not refuse, and is told which role may more", async () => {
    logIn({ name: "ann", role: "member", refused: { "tokens.create_token": "admin" } });
    const { csrf, may, roleFor, session } = await import("./session");
    expect([csrf, session?.name, session?.role]).toEqual(["abc", "ann", "member"]);
    expect([may("tokens.create_token"), roleFor("tokens.create_token")]).toEqual([false, "admin"]);
    expect([may("jobs.submit_job"), roleFor("jobs.submit_job")]).toEqual([true, ""]);
  });

  it("finds no actions on a job that their role may not take", async () => {
    logIn({ name: "vic", role: "viewer", refused: { "jobs.cancel_job": "member", "jobs.edit_job": "member", "jobs.move_job": "member" } });
    const { toJob } = await import("./model/job");
    expect(toJob(wireJob({ state: "queued" })).can).toMatchObject({ cancel: false, edit: false, prioritise: false, place: false, reorder: false, hold: true });
  });
});
