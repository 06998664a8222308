import { dismiss, toasts } from "../store/toasts";
import { Icon } from "./Icon";
import { Said } from "./Said";

/** Messages that come and go; the region is always there, so that screen readers hear what enters it. */
export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((toast) => (
        <div key={toast.id} class={`toast toast-${toast.kind}`}>
          <p>
            <Said text={toast.text} /> {toast.link && <a href={toast.link.href}>{toast.link.label}</a>}
          </p>
          <button type="button" aria-label="Close message" onClick={() => dismiss(toast.id)}>
            <Icon name="close" />
          </button>
        </div>
      ))}
    </div>
  );
}
