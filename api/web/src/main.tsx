import { render } from "preact";
import { App } from "./app";
import { askForJob } from "./http/api";
import { followQueue } from "./store/queue";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/controls.css";
import "./styles/queue.css";
import "./styles/workers.css";
import "./styles/datasets.css";
import "./styles/new_job.css";
import "./styles/job.css";
import "./styles/compare.css";

askForJob(location.pathname);
followQueue();
const root = document.getElementById("page");
if (root) render(<App />, root);
