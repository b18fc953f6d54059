import { writeFileSync } from 'node:fs';
import { auditEventsPage, PAGE } from './page.ts';

writeFileSync(PAGE, auditEventsPage());
