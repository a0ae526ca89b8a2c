// hubmeter in JupyterLab and Notebook: all parts are fed by the event socket that is there anyway.
// Two requests when the page is first looked at; after that only what a person asks for.

import { feed } from './plugins/feed';
import { notices } from './plugins/notices';
import { panel } from './plugins/panel';
import { person } from './plugins/person';
import { status } from './plugins/status';

export default [feed, status, panel, notices, person];
