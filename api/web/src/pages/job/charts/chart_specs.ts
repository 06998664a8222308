// Which charts there are, and what each draws.
import type { EpochMetrics } from "../../../store/job_session";
import type { Metric } from "../../../store/metric_columns";

export interface EpochSeries {
  readonly label: string;
  readonly tone: "train" | "validation";
  readonly value: (epoch: EpochMetrics) => number | null;
}

export interface ChartSpec {
  /** Its `data-chart`. */
  readonly name: string;
  readonly title: string;
  readonly help: string;
  /** The step metric that it draws raw and smoothed; none for charts of epochs alone. */
  readonly metric: Metric | null;
  readonly epochs: readonly EpochSeries[];
  readonly wide?: boolean;
  /** A schedule is exact: smoothing would only falsify it. */
  readonly exact?: boolean;
}

export const CHARTS: readonly ChartSpec[] = [
  {
    name: "loss",
    title: "Loss",
    help: "What training minimises.",
    metric: "loss",
    epochs: [{ label: "validation", tone: "validation", value: (epoch) => epoch.val_loss }],
    wide: true,
  },
  {
    name: "epoch_error",
    title: "Reconstruction error per epoch",
    help: "Squared error of log-mel, without augmentation. The lines part when it overfits.",
    metric: null,
    epochs: [
      { label: "training", tone: "train", value: (epoch) => epoch.train_reconstruction },
      { label: "validation", tone: "validation", value: (epoch) => epoch.val_reconstruction },
    ],
    wide: true,
  },
  { name: "reconstruction", title: "Reconstruction", help: "Squared error per step, in the model's own scale.", metric: "reconstruction", epochs: [] },
  {
    name: "kl",
    title: "KL divergence",
    help: "How much the latent space is used; near zero means collapse.",
    metric: "kl",
    epochs: [{ label: "validation", tone: "validation", value: (epoch) => epoch.val_kl }],
  },
  { name: "kl_weight", title: "KL weight", help: "Rises during the warm-up.", metric: "kl_weight", epochs: [], exact: true },
  { name: "grad_norm", title: "Gradient norm", help: "Before clipping.", metric: "grad_norm", epochs: [] },
  { name: "learning_rate", title: "Learning rate", help: "Cosine annealing towards zero.", metric: "learning_rate", epochs: [], exact: true },
  { name: "step_time", title: "Step time (s)", help: "Seconds that a step takes.", metric: "step_time_s", epochs: [] },
];
