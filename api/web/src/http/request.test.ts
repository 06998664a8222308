import { afterEach, describe, expect, it, vi } from "vitest";
import { ApiError, request } from "./request";

function answering(status: number, body: string): void {
  vi.stubGlobal("fetch", vi.fn(async () => new Response(body, { status })));
}
afterEach(() => vi.unstubAllGlobals());

describe("request", () => {
  it("asks under the api's prefix, without empty parameters", async () => {
    answering(200, "{}");
    await request("/jobs", { query: { limit: 5, q: "", kind: undefined } });
    expect(vi.mocked(fetch).mock.calls[0]?.[0]).toBe("/api/v1/jobs?limit=5");
  });

  it("throws what the server says, with the field, whose name is not said twice", async () => {
    answering(422, JSON.stringify({ error: "changes.epochs: must be 1 or more", field: "changes.epochs" }));
    await expect(request("/jobs")).rejects.toMatchObject({ message: "Must be 1 or more", status: 422, field: "changes.epochs" });
  });

  it("has a sentence for an answer that is not ours", async () => {
    answering(502, "<html>");
    await expect(request("/jobs")).rejects.toMatchObject({ status: 502, isTransient: true });
  });

  it("has a sentence for no answer at all", async () => {
    vi.stubGlobal("fetch", vi.fn(async () => Promise.reject(new TypeError("Failed to fetch"))));
    const error: unknown = await request("/jobs").catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({ status: 0, isTransient: true });
  });
});
