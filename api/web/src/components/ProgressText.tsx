import { count, remaining } from "../format";
import type { Job } from "../model/job";
import { isActive } from "../model/states";

const PHASES: Readonly<Record<string, string>> = {
  features: "Preparing features",
  setup: "Getting ready",
  validating: "Checking against held-out files",
  saving: "Saving",
};

/** "Epoch 40 of 100 · step 12,000 of 30,000" */
export function progressText(job: Job): string {
  const { phase, done, total, epoch, epochs, step, totalSteps } = job.progress;
  const parts: string[] = [];
  if (isActive(job.state) && PHASES[phase]) parts.push(total > 1 ? `${PHASES[phase]}, ${count(done)} of ${count(total)}` : (PHASES[phase] ?? ""));
  if (epoch > 0) parts.push(epochs > 0 ? `Epoch ${count(epoch)} of ${count(epochs)}` : `Epoch ${count(epoch)}`);
  if (step > 0) parts.push(totalSteps > 0 ? `step ${count(step)} of ${count(totalSteps)}` : `step ${count(step)}`);
  if (parts.length === 0 && total > 0) parts.push(`${count(done)} of ${count(total)}`);
  return parts.join(" · ");
}

export function ProgressText({ job }: { job: Job }) {
  const text = progressText(job);
  const left = isActive(job.state) ? remaining(job.etaS) : "";
  if (!text && !left) return null;
  return (
    <p class="small muted number progress-text">
      <span>{text}</span>
      {left && <span>{left} left</span>}
    </p>
  );
}
