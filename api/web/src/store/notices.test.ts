import { beforeEach, describe, expect, it, vi } from "vitest";
import { wireJob } from "../model/fixtures";
import { type Job, toJob } from "../model/job";
import { tell, tellOf, told } from "./notices";

const shown = vi.fn();
class SystemNotification {
  static requestPermission = vi.fn(() => Promise.resolve("granted"));
  constructor(title: string, options: NotificationOptions) {
    shown(title, options.body);
  }
}
const running: Job = { ...toJob(wireJob()), id: 7, name: "kit", state: "running", warnings: [] };
const warned: Job = { ...running, warnings: [{ code: "disk", message: "The disk is nearly full.", advice: "", step: null, at: 0 }] };

describe("tell", () => {
  beforeEach(() => {
    vi.stubGlobal("Notification", SystemNotification);
    shown.mockClear();
    told.value = [];
  });

  it("is silent about jobs that nobody chose, and where it may not", async () => {
    tell({ ...running, state: "completed" }, running);
    SystemNotification.requestPermission.mockResolvedValueOnce("denied");
    await tellOf(7);
    expect(told.value).toEqual([]);
    expect(shown).not.toHaveBeenCalled();
  });

  it("takes it where a browser grants notifications and shows none", async () => {
    const warn = vi.spyOn(console, "warn").mockReturnValue();
    shown.mockImplementationOnce(() => {
      throw new TypeError("Illegal constructor");
    });
    await tellOf(7);
    tell({ ...running, state: "completed" }, running);
    expect(told.value).toEqual([]);
    expect(warn).toHaveBeenCalledOnce();
  });

  it("tells of trouble and of the end, each once", async () => {
    await tellOf(7);
    tell(running, running);
    tell(warned, running);
    tell(warned, warned);
    tell({ ...warned, state: "failed", reason: "It ran out of memory." }, warned);
    tell({ ...warned, state: "failed" }, warned);
    expect(shown.mock.calls).toEqual([["kit", "The disk is nearly full."], ["kit", "failed. It ran out of memory."]]);
  });
});
