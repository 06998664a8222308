import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, expect, it } from "vitest";
import { useKeptFocus } from "./kept_focus";

interface Shown {
  readonly group: "Waiting" | "Running";
  readonly actions: readonly string[];
}

function Queue({ group, actions }: Shown) {
  useKeptFocus();
  return (
    <section key={group}>
      <div data-job="7">
        <a class="job-name" href="/jobs/7">kit</a>
        {actions.map((action) => <button key={action} type="button">{action}</button>)}
      </div>
    </section>
  );
}

const show = (shown: Shown) => act(() => render(<Queue {...shown} />, document.body));
const focus = (name: string) => [...document.querySelectorAll("button")].find((button) => button.textContent === name)!.focus();

afterEach(() => act(() => render(null, document.body)));

it("stays on the control whose row goes to another group", async () => {
  await show({ group: "Waiting", actions: ["Cancel"] });
  focus("Cancel");
  const before = document.activeElement;
  await show({ group: "Running", actions: ["Save now", "Cancel"] });
  expect(document.activeElement?.textContent).toBe("Cancel");
  expect(document.activeElement).not.toBe(before);
});

it("goes to the job's name where the control is no more", async () => {
  await show({ group: "Waiting", actions: ["Run next"] });
  focus("Run next");
  await show({ group: "Running", actions: ["Cancel"] });
  expect(document.activeElement?.textContent).toBe("kit");
});

it("leaves who pressed somewhere else on the page", async () => {
  await show({ group: "Waiting", actions: ["Cancel"] });
  focus("Cancel");
  document.body.dispatchEvent(new Event("pointerdown", { bubbles: true }));
  await show({ group: "Running", actions: ["Cancel"] });
  expect(document.activeElement).toBe(document.body);
});

it("takes the focus from nowhere else", async () => {
  await show({ group: "Waiting", actions: ["Cancel"] });
  focus("Cancel");
  document.querySelector("button")!.blur();
  const elsewhere = document.body.appendChild(document.createElement("input"));
  elsewhere.focus();
  await show({ group: "Running", actions: ["Cancel"] });
  expect(document.activeElement).toBe(elsewhere);
  elsewhere.remove();
});
