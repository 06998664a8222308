import { tell, warn } from "../store/toasts";
import { Icon } from "./Icon";

/** A command to take elsewhere, whole, with a button that copies it. */
export function CopyLine({ text, label }: { text: string; label: string }) {
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      tell("Copied.");
    } catch {
      warn("The browser did not allow copying: select the line and copy it by hand.");
    }
  };
  return (
    <div class="copy-line">
      <code tabIndex={0} role="group" aria-label={label}>{text}</code>
      {/* Browsers offer the clipboard on secure addresses alone. */}
      {"clipboard" in navigator && <button type="button" class="button button-small" onClick={() => void copy()}><Icon name="copy" />Copy</button>}
    </div>
  );
}
